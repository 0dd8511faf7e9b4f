"""What the eager model finds, in the form in which a file says it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from d2seg.core.ops.boxes import clip_boxes, nonempty, scale_boxes

Prepare = Callable[[Tensor], Tensor]
"""From an image (3, H, W) float, raw pixels, to the one that the network sees."""


class Detections(NamedTuple):
    """The objects of one image, on the CPU; None for what a model does not have.

    Attributes:
        boxes: (N, 4) float, XYXY pixels.
        classes: (N,) int64.
        masks: (N, 1, h, w) float probabilities, or (N, height, width) bool.
        scores: (N,) float.
        keypoints: (N, K, 3) float, x and y in pixels and a score.
    """

    boxes: Tensor
    classes: Tensor
    masks: Tensor | None
    scores: Tensor
    keypoints: Tensor | None = None

    @classmethod
    def from_outputs(cls, names: Sequence[str], outputs: Sequence[Tensor]) -> "Detections":
        """Take the outputs of a file by their names, see ``ModelDescription.outputs``."""
        found = dict(zip(names, outputs, strict=True))
        return cls(
            found["boxes"],
            found["classes"],
            found.get("masks"),
            found["scores"],
            found.get("keypoints"),
        )

    def rows(self, index: Tensor | slice) -> "Detections":
        """Choose objects by their rows, or by a mask of them."""
        return Detections(*(None if field is None else field[index] for field in self))  # type: ignore[arg-type]


def detect_eagerly(
    model: Any, image: Tensor, prepare: Prepare | None = None, full_masks: bool = False
) -> Detections:
    """Run a model of either framework on one image, as its predictor does.

    Args:
        model: In eval mode.
        image: (3, H, W) float, raw pixels in the order of the model.
        prepare: Applied to the image before the model; None for nothing.
        full_masks: Return masks of the size of the image instead of probabilities in the boxes.

    Returns:
        Detections in pixels of ``image``; boxes with nothing within it are left out.
    """
    return detect_batch_eagerly(model, [image], prepare, full_masks)[0]


def detect_batch_eagerly(
    model: Any,
    images: Sequence[Tensor],
    prepare: Prepare | None = None,
    full_masks: bool = False,
) -> list[Detections]:
    """Run a model on several images together, which pads the smaller ones.

    Args:
        model: See :func:`detect_eagerly`.
        images: See there.
        prepare: See there.
        full_masks: See there.

    Returns:
        The detections of each image.
    """
    inputs = [{"image": image if prepare is None else prepare(image)} for image in images]
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    with torch.inference_mode():
        if full_masks or not _has_masks(model):
            sized = [
                one | {"height": height, "width": width}
                for one, (height, width) in zip(inputs, sizes, strict=True)
            ]
            return [_collect(found["instances"].to("cpu")) for found in model(sized)]
        found = model.inference(inputs, do_postprocess=False)
    networks = [(one["image"].shape[1], one["image"].shape[2]) for one in inputs]
    return [
        _rescale(_collect(one.to("cpu")), network_hw, size_hw)
        for one, network_hw, size_hw in zip(found, networks, sizes, strict=True)
    ]


def _has_masks(model: Any) -> bool:
    return bool(getattr(getattr(model, "roi_heads", None), "mask_on", False))


def _collect(found: Any) -> Detections:
    return Detections(
        found.pred_boxes.tensor,
        found.pred_classes,
        found.pred_masks if found.has("pred_masks") else None,
        found.scores,
        found.pred_keypoints if found.has("pred_keypoints") else None,
    )


def _rescale(found: Detections, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Detections:
    """Do to raw detections what the postprocessing of the model does, masks left aside."""
    factors = (to_hw[1] / from_hw[1], to_hw[0] / from_hw[0])
    boxes = clip_boxes(scale_boxes(found.boxes, *factors), to_hw)
    keypoints = found.keypoints
    if keypoints is not None:
        keypoints = keypoints * torch.tensor([*factors, 1.0])
    return found._replace(boxes=boxes, keypoints=keypoints).rows(nonempty(boxes))

"""What a user of an exported file needs beside it: masks and boxes in the size of the image.

Everything here works on plain tensors, without a config or a model::

    outputs = file(resize_shortest_edge(image, 800, 1333))
    found = postprocess(outputs, to_hw=image.shape[-2:])
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from d2seg.core.ops import masks as mask_ops
from d2seg.core.ops import resize
from d2seg.core.ops.boxes import clip_boxes, nonempty, scale_boxes

FileOutputs = Sequence[Tensor]
"""What an exported file returns: boxes, classes, masks, keypoints, scores, image_size, without the
masks or keypoints that a model does not have."""


class Detections(NamedTuple):
    """The objects of one image, best score first.

    Attributes:
        boxes: (N, 4) float, XYXY pixels.
        classes: (N,) int64 in [0, number of classes).
        scores: (N,) float in [0, 1].
        masks: (N, height, width) bool, or uint8 in [0, 255] if soft masks were asked for; None if
            the file gives none.
        keypoints: (N, K, 3) float, x and y in pixels and a score; None if the file gives none.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor
    masks: Tensor | None
    keypoints: Tensor | None = None


def postprocess(
    outputs: FileOutputs, to_hw: Sequence[int] | None = None, threshold: float = 0.5
) -> Detections:
    """Bring the outputs of an exported file into the size of an image.

    Args:
        outputs: boxes (N, 4); classes (N,); masks (N, 1, h, w), or (N, height, width) bool;
            keypoints (N, K, 3); scores (N,); image_size (2,). Masks and keypoints may be missing.
        to_hw: Wanted height and width; by default those of the tensor that the file was given.
        threshold: See :func:`paste_masks`; masks that are in the image already are kept.

    Returns:
        Detections in that size. Boxes are clipped to it, and those with nothing left are dropped.

    Raises:
        ValueError: The outputs do not have these shapes, or a size is not positive.
    """
    if not 4 <= len(outputs) <= 6:
        raise ValueError(
            f"outputs has {len(outputs)} entries, but an exported file returns 4 to 6: boxes, "
            "classes, masks and keypoints where the model has them, scores, image_size."
        )
    (boxes, classes), (scores, image_size) = outputs[:2], outputs[-2:]
    from_hw = _check_size("image_size", image_size.tolist())
    size_hw = from_hw if to_hw is None else _check_size("to_hw", to_hw)
    boxes = clip_boxes(rescale_boxes(boxes, from_hw, size_hw), size_hw)
    kept = nonempty(boxes)
    boxes = boxes[kept]
    masks = keypoints = None
    for detail in outputs[2:-2]:
        if detail.dim() == 3 and detail.is_floating_point():
            keypoints = _rescale_keypoints(detail[kept], from_hw, size_hw)
        elif detail.dtype == torch.bool:
            masks = _rescale_masks(detail[kept], size_hw)
        else:
            masks = paste_masks(detail[kept], boxes, size_hw, threshold)
    return Detections(boxes, classes[kept], scores[kept], masks, keypoints)


def pad_images(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Put images of different sizes into one tensor, as files that take batches want them.

    Args:
        images: Each (3, H, W), of one type.

    Returns:
        (B, 3, H, W) of that type, each image at the top left, zeros beside it; and (B, 2) int64,
        the height and width of each.

    Raises:
        ValueError: There is no image.
    """
    if not images:
        raise ValueError("images is empty; a batch has at least one image.")
    sizes = torch.tensor([tuple(image.shape[1:]) for image in images])
    height, width = sizes.amax(dim=0).tolist()
    batch = images[0].new_zeros([len(images), images[0].shape[0], height, width])
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    return batch, sizes


def slice_batch(outputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Cut the outputs of a file that takes batches into what was found in each image.

    Args:
        outputs: By name, arrays or tensors: ``detections_per_batch`` (B, 1), and any number of
            others (B, K, ...), such as ``boxes``, ``labels``, ``scores`` and ``masks``, whose rows
            beyond the number of detections are padding.

    Returns:
        For each image the others by name, cut to its detections: (N, ...).

    Raises:
        ValueError: There is no ``detections_per_batch``, or another output has too few rows.
    """
    if "detections_per_batch" not in outputs:
        raise ValueError(
            "outputs must have 'detections_per_batch', but has "
            f"{', '.join(outputs) or 'nothing'}; only files exported with --batched have it."
        )
    counts = [int(count) for count in outputs["detections_per_batch"].reshape(-1)]
    others = {name: value for name, value in outputs.items() if name != "detections_per_batch"}
    for name, value in others.items():
        if value.shape[0] != len(counts) or value.shape[1] < max(counts, default=0):
            raise ValueError(
                f"'{name}' has the shape {tuple(value.shape)}, which does not hold the "
                f"{counts} detections of the images."
            )
    return [
        {name: value[index, :count] for name, value in others.items()}
        for index, count in enumerate(counts)
    ]


def _rescale_keypoints(points: Tensor, from_hw: Sequence[int], to_hw: Sequence[int]) -> Tensor:
    factors = [to_hw[1] / from_hw[1], to_hw[0] / from_hw[0], 1.0]
    return points * points.new_tensor(factors)


def _rescale_masks(masks: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Bring masks (N, H, W) bool to another size, each pixel from the nearest."""
    if len(masks) == 0:  # which cannot be resized
        return masks.new_zeros([0, *size_hw])
    return F.interpolate(masks[None].float(), size_hw, mode="nearest-exact")[0] > 0.5


def paste_masks(
    masks: Tensor, boxes: Tensor, image_size_hw: Sequence[int], threshold: float = 0.5
) -> Tensor:
    """Resize the small masks to their boxes and place them in the image.

    Args:
        masks: (N, 1, h, w) or (N, h, w) float probabilities, such as (N, 1, 28, 28).
        boxes: (N, 4) float, XYXY pixels of the image.
        image_size_hw: Height and width of the image.
        threshold: Pixels at or above it belong to the object; below zero keeps soft masks.

    Returns:
        (N, height, width) bool, or uint8 in [0, 255] for a threshold below zero.

    Raises:
        ValueError: The shapes do not fit each other, or the size is not positive.
    """
    size_hw = _check_size("image_size_hw", image_size_hw)
    if masks.dim() == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.dim() != 3 or boxes.dim() != 2 or boxes.shape[1] != 4 or len(masks) != len(boxes):
        raise ValueError(
            "Pasting needs masks (N, 1, h, w) or (N, h, w) and boxes (N, 4), but masks are "
            f"{tuple(masks.shape)} and boxes {tuple(boxes.shape)}."
        )
    return mask_ops.paste_masks(masks, boxes, size_hw, threshold)


def rescale_boxes(boxes: Tensor, from_hw: Sequence[int], to_hw: Sequence[int]) -> Tensor:
    """Bring boxes from one size of an image to another, out of place.

    Args:
        boxes: (N, 4) float, XYXY pixels of the image in size ``from_hw``.
        from_hw: Height and width that the boxes refer to.
        to_hw: Height and width wanted.

    Returns:
        (N, 4) float, XYXY pixels of the image in size ``to_hw``.
    """
    from_height, from_width = _check_size("from_hw", from_hw)
    to_height, to_width = _check_size("to_hw", to_hw)
    return scale_boxes(boxes, to_width / from_width, to_height / from_height)


def shortest_edge_size(image_hw: Sequence[int], short: int, longest: int) -> tuple[int, int]:
    """Compute the size that detectron2 resizes an image to before the network.

    Args:
        image_hw: Height and width of the image.
        short: Wanted length of the shorter edge, in pixels.
        longest: The longer edge may not exceed this; the shorter one gives way.

    Returns:
        Height and width with the aspect ratio of the image, up to rounding.
    """
    height, width = _check_size("image_hw", image_hw)
    return resize.shortest_edge_size(height, width, short, longest)


def resize_shortest_edge(image: Tensor, short: int, longest: int) -> Tensor:
    """Resize an image so that its shorter edge has a given length.

    Args:
        image: (C, H, W) float, such as raw pixels 0..255.
        short: See :func:`shortest_edge_size`.
        longest: See :func:`shortest_edge_size`.

    Returns:
        (C, h, w) float, bilinear and smoothed when shrinking, as Pillow does it (which also rounds
        to whole grey values).

    Raises:
        ValueError: The image has another number of dimensions.
        TypeError: The image is not of a floating-point type.
    """
    if image.dim() != 3:
        raise ValueError(f"image must be (C, H, W), but its shape is {tuple(image.shape)}.")
    if not image.is_floating_point():
        raise TypeError(f"image must be float, but is {image.dtype}; use image.float().")
    size_hw = shortest_edge_size(image.shape[-2:], short, longest)
    resized = F.interpolate(
        image[None], size_hw, mode="bilinear", align_corners=False, antialias=True
    )
    return resized[0]


def _check_size(name: str, size_hw: Sequence[int]) -> tuple[int, int]:
    if len(size_hw) != 2 or min(size_hw) < 1:
        raise ValueError(
            f"{name} must be a positive height and width in pixels, but is {tuple(size_hw)}."
        )
    return int(size_hw[0]), int(size_hw[1])

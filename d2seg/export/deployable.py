"""A trained detector as one module with tensors in and tensors out."""

from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.ops.boxes import clip_boxes, nonempty, scale_boxes
from d2seg.core.ops.masks import paste_masks, paste_masks_whole_pixels
from d2seg.export.families import build_stages
from d2seg.export.pyramid import plain_backbone
from d2seg.export.resize import ShortestEdge
from d2seg.export.support import check_supported


class DeployableRCNN(nn.Module):
    """Finds the objects of one image; normalisation and padding are inside.

    Composed of the same functions as the eager model, without its classes for boxes and instances,
    so that TorchScript and the runtimes of phones can take it. Sizes and counts stay dynamic. A
    backbone gives maps, a detector boxes, and what the model has beside that masks and keypoints.

    Args:
        model: Of either framework, see :func:`d2seg.export.support.check_supported`. Its weights
            are copied.
        aten_only: Use no torchvision operator, which stock phone runtimes do not have.
        input_order: Order of the input's channels, ``RGB`` or ``BGR``; by default the model's own.
        resize: Length of the shorter edge and limit of the longer one that images are resized to
            inside, in pixels; None takes them as they are.
        full_masks: Return masks in the size of the image, which takes N * H * W bytes.
        interpolate: Resize by plain interpolation, see `d2seg.export.resize.ShortestEdge`.

    Raises:
        ValueError: The model is of another family, the order is unknown, or ``resize`` is not
            positive.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        model: Any,
        *,
        aten_only: bool = True,
        input_order: str = "",
        resize: tuple[int, int] | None = None,
        full_masks: bool = False,
        interpolate: bool = False,
    ) -> None:
        super().__init__()
        check_supported(model)
        self.flip_channels = needs_flip(model, input_order)
        self.size_divisibility: int = max(model.backbone.size_divisibility, 1)
        self.register_buffer("pixel_mean", model.pixel_mean.detach().clone())
        self.register_buffer("pixel_std", model.pixel_std.detach().clone())
        self.resize = None if resize is None else ShortestEdge(*resize, interpolate)
        self.backbone = plain_backbone(model.backbone)
        self.detector, self.masks, self.keypoints = build_stages(
            model, self.backbone.level_names, aten_only
        )
        self.full_masks = full_masks
        self.whole_pixel_masks: bool = getattr(model, "whole_pixel_masks", False)
        self.requires_grad_(False)
        self.eval()

    # TorchScript infers what is returned: another number of tensors for each family.
    def forward(self, image: Tensor):  # type: ignore[no-untyped-def]
        """Find the objects of an image.

        Args:
            image: (3, H, W), raw values 0..255, any H and W.

        Returns:
            A tuple without the entries that the model does not have: boxes (N, 4) float, XYXY
            pixels of the input, within it and not empty; classes (N,) int64; masks (N, 1, h, w)
            float probabilities within the boxes, or (N, H, W) bool with ``full_masks``; keypoints
            (N, K, 3) float x, y and score; scores (N,) float, falling; image_size (2,) int64,
            height and width of the input.
        """
        if image.dim() != 3 or image.shape[0] != self.pixel_mean.shape[0] or image.numel() == 0:
            raise ValueError(f"the image must be one (3, H, W) tensor, but is {image.shape}")
        size_hw = (image.shape[1], image.shape[2])
        image = image.to(torch.float32)
        if self.resize is not None:
            image = self.resize(image)
        network_hw = (image.shape[1], image.shape[2])
        features = self.backbone(self._prepare(image))
        found, scores, classes = self.detector(features, network_hw)
        boxes, kept = _fit_boxes(found, network_hw, size_hw)
        image_size = torch.tensor([size_hw[0], size_hw[1]])
        front, back = (boxes[kept], classes[kept]), (scores[kept], image_size)
        if self.masks is not None:
            masks = self.masks(features, found, classes)[kept]
            if self.full_masks:
                masks = self._paste(masks[:, 0], boxes[kept], size_hw)
            if self.keypoints is not None:
                points = _fit_points(self.keypoints(features, found), network_hw, size_hw)
                return front + (masks, points[kept]) + back
            return front + (masks,) + back
        if self.keypoints is not None:
            points = _fit_points(self.keypoints(features, found), network_hw, size_hw)
            return front + (points[kept],) + back
        return front + back

    def _paste(self, masks: Tensor, boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """Place masks (N, h, w) in the image: (N, height, width) bool."""
        if self.whole_pixel_masks:
            return paste_masks_whole_pixels(masks, boxes, size_hw, 0.5)
        return paste_masks(masks, boxes, size_hw, 0.5)

    def _prepare(self, image: Tensor) -> Tensor:
        """Normalise (3, H, W) and pad at the bottom and the right: (1, 3, H', W')."""
        if self.flip_channels:
            image = image.flip(0)
        normalised = (image - self.pixel_mean) / self.pixel_std
        bottom = -image.shape[1] % self.size_divisibility
        right = -image.shape[2] % self.size_divisibility
        return torch.constant_pad_nd(normalised[None], [0, right, 0, bottom], 0.0)


def _fit_boxes(
    boxes: Tensor, from_hw: tuple[int, int], to_hw: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Bring boxes (N, 4) from the network's input to the image, and tell which are not empty."""
    scaled = scale_boxes(boxes, to_hw[1] / from_hw[1], to_hw[0] / from_hw[0])
    clipped = clip_boxes(scaled, to_hw)
    return clipped, nonempty(clipped)


def _fit_points(points: Tensor, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Tensor:
    """Bring keypoints (N, K, 3) from the network's input to the image."""
    factors = [to_hw[1] / from_hw[1], to_hw[0] / from_hw[0], 1.0]
    return points * torch.tensor(factors, dtype=points.dtype, device=points.device)


def needs_flip(model: Any, input_order: str = "") -> bool:
    """Tell whether channels in ``input_order`` must be reversed for the model.

    Args:
        model: Its ``input_format`` is the order it was trained with.
        input_order: ``RGB`` or ``BGR``; empty for the model's own.

    Raises:
        ValueError: One of the orders is neither.
    """
    for name, order in (
        ("input_order", input_order or "BGR"),
        ("INPUT.FORMAT", model.input_format),
    ):
        if order not in ("RGB", "BGR"):
            raise ValueError(f"{name} is '{order}', but a file takes images in RGB or BGR order.")
    return bool(input_order) and input_order != model.input_format

"""Images of any size for a model of one size, and its boxes back in pixels of the image."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from d2seg.core.ops.boxes import clip_boxes, nonempty
from d2seg.postprocess import rescale_boxes


def letterbox_size(image_hw: Sequence[int], canvas_hw: Sequence[int]) -> tuple[int, int]:
    """Compute the largest size of an image's aspect ratio that fits a canvas, up to rounding.

    Args:
        image_hw: Height and width of the image.
        canvas_hw: Those of the canvas.

    Returns:
        Height and width, at least one pixel each.
    """
    scale = min(canvas_hw[0] / image_hw[0], canvas_hw[1] / image_hw[1])
    height, width = (
        min(max(int(side * scale + 0.5), 1), limit)
        for side, limit in zip(image_hw, canvas_hw, strict=True)
    )
    return height, width


def letterbox(image: Tensor, canvas_hw: Sequence[int]) -> tuple[Tensor, tuple[int, int]]:
    """Resize an image to fit a canvas, with its aspect ratio, and place it at the top left.

    Args:
        image: (3, h, w) float, such as raw pixels 0..255.
        canvas_hw: Height and width of the canvas.

    Returns:
        The canvas (3, H, W) float, zeros beside the image, and the height and width of the part
        that the image takes.

    Raises:
        ValueError: The image has another number of dimensions or no pixel.
        TypeError: The image is not of a floating-point type.
    """
    if image.dim() != 3 or image.numel() == 0:
        raise ValueError(f"image must be (3, H, W), but its shape is {tuple(image.shape)}.")
    if not image.is_floating_point():
        raise TypeError(f"image must be float, but is {image.dtype}; use image.float().")
    size_hw = letterbox_size(image.shape[1:], canvas_hw)
    if size_hw != tuple(image.shape[1:]):
        image = F.interpolate(
            image[None], size_hw, mode="bilinear", align_corners=False, antialias=True
        )[0]
    return place_on_canvas(image, canvas_hw), size_hw


def place_on_canvas(image: Tensor, canvas_hw: Sequence[int]) -> Tensor:
    """Place (3, h, w) at the top left of a canvas of zeros that is at least as large."""
    bottom, right = canvas_hw[0] - image.shape[1], canvas_hw[1] - image.shape[2]
    return torch.constant_pad_nd(image, [0, right, 0, bottom], 0.0).contiguous()


def unletterbox(
    boxes: Tensor, placed_hw: Sequence[int], image_hw: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Bring boxes on the canvas into pixels of the image.

    Args:
        boxes: (N, 4) float, XYXY pixels of the canvas.
        placed_hw: Height and width of the part of the canvas that the image takes.
        image_hw: Height and width of the image itself.

    Returns:
        (N, 4) float, XYXY pixels of the image, clipped to it; and (N,) bool, which of them have
        anything within it.
    """
    size_hw = (int(image_hw[0]), int(image_hw[1]))
    clipped = clip_boxes(rescale_boxes(boxes, placed_hw, size_hw), size_hw)
    return clipped, nonempty(clipped)

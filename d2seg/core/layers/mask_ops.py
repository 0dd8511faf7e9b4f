"""Pasting masks under detectron2's name."""

from typing import Any

from torch import Tensor

from d2seg.core.ops.masks import paste_masks


def paste_masks_in_image(
    masks: Tensor, boxes: Any, image_shape: tuple[int, int], threshold: float = 0.5
) -> Tensor:
    """Resize region masks to their boxes and place them in the image.

    Args:
        masks: (N, h, w) float probabilities in [0, 1].
        boxes: Boxes of length N, or a (N, 4) float tensor, XYXY absolute pixels.
        image_shape: Height and width of the image.
        threshold: Pixels at or above it belong to the object; below zero keeps soft masks.

    Returns:
        (N, height, width) bool, or uint8 in [0, 255] for a threshold below zero.
    """
    return paste_masks(masks, getattr(boxes, "tensor", boxes), image_shape, threshold)

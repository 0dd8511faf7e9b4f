"""Pasting masks into images as matrix products, without a loop over the objects.

The same pixels as :func:`d2seg.core.ops.masks.paste_masks` gives, at the price of a float32 for
each pixel and object on the way.
"""

import torch
from torch import Tensor


def paste_by_products(
    masks: Tensor, boxes: Tensor, size_hw: tuple[int, int], threshold: float = 0.5
) -> Tensor:
    """Resize region masks to their boxes and place them in an image.

    Args:
        masks: (R, h, w) float probabilities in [0, 1].
        boxes: (R, 4) float, XYXY pixels, not empty; others give an empty mask.
        size_hw: Height and width of the image.
        threshold: Pixels at or above it belong to the object; above 0.

    Returns:
        (R, height, width) bool.
    """
    rows = _axis_weights(boxes[:, 1], boxes[:, 3], masks.shape[1], size_hw[0])  # (R, H, h)
    columns = _axis_weights(boxes[:, 0], boxes[:, 2], masks.shape[2], size_hw[1])  # (R, W, w)
    soft = torch.bmm(torch.bmm(rows, masks), columns.transpose(1, 2))
    return soft >= threshold


def _axis_weights(start: Tensor, end: Tensor, cells: int, length: int) -> Tensor:
    """Weigh the cells of a mask for each pixel of an axis of the image: (R, length, cells)."""
    pixel = torch.arange(length, dtype=start.dtype, device=start.device) + 0.5
    size = (end - start)[:, None]
    # In cells of the mask; beyond its outermost centres it fades to zero.
    position = (pixel - start[:, None]) / size.clamp(min=1e-6) * cells - 0.5  # (R, length)
    cell = torch.arange(cells, dtype=start.dtype, device=start.device)
    return (1.0 - (position[:, :, None] - cell).abs()).clamp(min=0.0)

"""Pasting masks into images as matrix products, without a loop over the objects.

The same pixels as :func:`d2seg.core.ops.masks.paste_masks` gives, at the price of a float32 for
each pixel and object on the way.
"""

import torch
from torch import Tensor

from d2seg.core.ops.masks import axis_weights


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
    rows = axis_weights(boxes[:, 1::2], 0, size_hw[0], masks.shape[1])  # (R, H, h)
    columns = axis_weights(boxes[:, 0::2], 0, size_hw[1], masks.shape[2])  # (R, W, w)
    soft = torch.bmm(torch.bmm(rows, masks), columns.transpose(1, 2))
    return soft >= threshold

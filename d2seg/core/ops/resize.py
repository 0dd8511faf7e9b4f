"""Sizes of resized images, and the resizing that Pillow does, in ATen operators."""

import torch
from torch import Tensor


def shortest_edge_size(height: int, width: int, short: int, longest: int) -> tuple[int, int]:
    """Compute the size that an image is resized to before the network.

    Args:
        height: Of the image, in pixels.
        width: Likewise.
        short: Wanted length of the shorter edge, in pixels.
        longest: The longer edge may not exceed this; the shorter one gives way.

    Returns:
        Height and width, at least 1, with the aspect ratio of the image up to rounding.
    """
    shorter = min(height, width)
    new_height = float(short) if height == shorter else height * (short / shorter)
    new_width = float(short) if width == shorter else width * (short / shorter)
    longer = max(new_height, new_width)
    if longer > longest:
        # A second factor, not the smaller of two: half-way cases then round as in detectron2.
        new_height, new_width = new_height * (longest / longer), new_width * (longest / longer)
    return max(int(new_height + 0.5), 1), max(int(new_width + 0.5), 1)


def resize_like_pillow(image: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Resize an image of whole grey values as Pillow does bilinearly, smoothed when shrinking.

    Pillow resizes along the rows, rounds to whole grey values, and then along the columns. So does
    this; a value differs, by one, only where the exact one is half-way between two.

    Args:
        image: (C, H, W) float, 0..255.
        size_hw: Wanted height and width.

    Returns:
        (C, h, w) float, whole grey values.
    """
    along_rows = _resize_rounded(image[None], image.shape[1], size_hw[1])
    return _resize_rounded(along_rows, size_hw[0], size_hw[1])[0]


def _resize_rounded(images: Tensor, height: int, width: int) -> Tensor:
    # The operator itself: F.interpolate would bring every other kind of resizing along.
    resized = torch.ops.aten._upsample_bilinear2d_aa(images, [height, width], False, None, None)
    return torch.floor(resized + 0.5).clamp(min=0, max=255)

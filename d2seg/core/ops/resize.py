"""Sizes of resized images, and the resizing that Pillow does, in ATen operators."""

import math

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


def shortest_edge_size_below(height: int, width: int, short: int, longest: int) -> tuple[int, int]:
    """Compute the size an image is resized to when sizes are rounded down.

    Args:
        height: Of the image, in pixels.
        width: Likewise.
        short: Wanted length of the shorter edge, in pixels.
        longest: The longer edge may not exceed this; the shorter one gives way.

    Returns:
        Height and width, at least 1.
    """
    scale = min(short / min(height, width), longest / max(height, width))
    return max(int(height * scale), 1), max(int(width * scale), 1)


def resize_by_interpolation(image: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Resize an image bilinearly between the four nearest pixels, without smoothing.

    Args:
        image: (C, H, W) float.
        size_hw: Wanted height and width.

    Returns:
        (C, h, w) float, not rounded.
    """
    return torch.ops.aten.upsample_bilinear2d(image[None], [size_hw[0], size_hw[1]], False, None)[0]


def resize_like_pillow(image: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Resize an image of whole grey values bilinearly, to the very values that Pillow gives.

    Pillow smooths when it shrinks: a value is a mean over as many pixels as become one, weighted by
    a triangle. It goes along the rows, then along the columns, each time rounding to whole grey
    values, with weights of 22 binary digits. ATen's antialiased operator differs from that by up to
    one grey value, which is enough to change detections.

    Pillow 13 goes along the columns first where that is less work: images more than twice as high
    as wide that shrink, or that change their shape. There up to one grey value remains.

    Args:
        image: (C, H, W) float, 0..255; other than whole values are rounded.
        size_hw: Wanted height and width.

    Returns:
        (C, h, w) float, whole grey values.
    """
    pixels = image.round().clamp(0, 255).to(torch.int32)
    pixels = _resize_axis(pixels, 2, size_hw[1])
    return _resize_axis(pixels, 1, size_hw[0]).to(image.dtype)


def _resize_axis(pixels: Tensor, dim: int, new_size: int) -> Tensor:
    """Resize (C, H, W) int32 along one dimension."""
    sources, weights = _taps(pixels.shape[dim], new_size, pixels.device)
    shape = [1, 1, 1]
    shape[dim] = new_size
    # Sums fit: 255 times weights that sum up to 2**22, and one half, so that the division rounds.
    # Both as literals, because powers are floats in TorchScript.
    total = torch.full([1, 1, 1], 2097152, dtype=torch.int32, device=pixels.device)
    for tap in range(sources.shape[0]):
        total = total + pixels.index_select(dim, sources[tap]) * weights[tap].view(shape)
    return torch.div(total, 4194304, rounding_mode="floor").clamp(0, 255)


def _taps(size: int, new_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Say of which pixels along an axis the new ones are made.

    Returns:
        sources (T, new_size) int64 in [0, size) and weights (T, new_size) int32, in units of
        2**-22; T pixels for each, those that are not needed with weight zero.
    """
    scale = size / new_size
    reach = max(scale, 1.0)  # half the foot of the triangle
    new = torch.arange(new_size, dtype=torch.float64, device=device)
    center = (new + 0.5) * scale
    first = torch.floor(center - reach + 0.5).clamp(min=0)
    count = 2 * math.ceil(reach) + 1
    position = first + torch.arange(count, dtype=torch.float64, device=device)[:, None]  # [T,new]
    share = (1 - (position + 0.5 - center).abs() / reach).clamp(min=0)
    share = torch.where(position < size, share, torch.zeros_like(share))
    share = share / share.sum(dim=0)
    weights = torch.floor(share * 4194304 + 0.5).to(torch.int32)
    return position.clamp(max=size - 1).to(torch.int64), weights

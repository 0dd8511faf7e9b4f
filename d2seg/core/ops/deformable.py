"""Deformable convolution in ATen operators (arXiv:1703.06211; modulated, arXiv:1811.11168).

torchvision's operator is not in stock phone runtimes. Here the samples of all taps are read by the
operator for grids, and what remains is a matrix product.

Legend: C and O channels in and out, G groups with offsets of their own, T taps of the kernel, h and
w the size of the result.
"""

import torch
from torch import Tensor


def deformable_convolution(
    features: Tensor,
    offsets: Tensor,
    weights: Tensor | None,
    kernel: Tensor,
    stride: int,
    padding: int,
    dilation: int,
    groups: int,
) -> Tensor:
    """Convolve with taps that are moved at every place.

    Args:
        features: (1, C, H, W) float; zero outside, between cells bilinear.
        offsets: (1, G * T * 2, h, w) float, how far each tap is moved, in cells: y, then x.
        weights: (1, G * T, h, w) float, factor of each tap; None for ones.
        kernel: (O, C / groups, rows, columns) float.
        stride: Cells between places, on both axes.
        padding: Zeros around the features, on both axes.
        dilation: Cells between taps, on both axes.
        groups: Groups of channels that are convolved apart.

    Returns:
        (1, O, h, w) float.
    """
    channels = features.shape[1]
    out_channels, _, rows, columns = kernel.shape
    height, width = offsets.shape[2], offsets.shape[3]
    taps = rows * columns
    own = offsets.shape[1] // (2 * taps)  # G
    moved = offsets.view(own, taps, 2, height, width)
    places = torch.arange(max(height, width), dtype=offsets.dtype, device=offsets.device)
    places = places * stride - padding
    tap = torch.arange(taps, device=offsets.device)[:, None, None]
    tap_y = torch.div(tap, columns, rounding_mode="floor") * dilation
    tap_x = (tap % columns) * dilation
    y = moved[:, :, 0] + tap_y + places[:height, None]  # [G,T,h,w]
    x = moved[:, :, 1] + tap_x + places[:width]
    # -1 and 1 are the outer edges of the features.
    grid_y = (2 * y + 1) / features.shape[2] - 1
    grid_x = (2 * x + 1) / features.shape[3] - 1
    grid = torch.stack([grid_x, grid_y], dim=4).view(own, taps * height, width, 2)
    maps = features.view(own, channels // own, features.shape[2], features.shape[3])
    sampled = torch.grid_sampler(maps, grid, 0, 0, False)  # bilinear, zeros outside
    sampled = sampled.view(own, channels // own, taps, height * width)
    if weights is not None:
        sampled = sampled * weights.view(own, 1, taps, height * width)
    patches = sampled.reshape(groups, channels // groups * taps, height * width)
    product = torch.bmm(kernel.reshape(groups, out_channels // groups, -1), patches)
    return product.view(1, out_channels, height, width)

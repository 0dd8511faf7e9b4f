"""Deformable convolution against torchvision's operator."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import deform_conv2d

from d2seg.core.ops.deformable import deformable_convolution


def random(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("modulated", [True, False])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups", "own", "kernel_hw"),
    [
        (1, 1, 1, 1, 1, (3, 3)),
        (2, 1, 1, 2, 1, (3, 3)),
        (1, 2, 2, 1, 2, (3, 3)),
        (2, 0, 1, 4, 4, (1, 3)),
        (1, 1, 1, 2, 4, (3, 2)),
    ],
)
def test_equals_torchvision(
    modulated: bool,
    stride: int,
    padding: int,
    dilation: int,
    groups: int,
    own: int,
    kernel_hw: tuple[int, int],
) -> None:
    features = random(1, 8, 13, 10, seed=0)
    kernel = random(12, 8 // groups, *kernel_hw, seed=1)
    geometry = (stride, padding, dilation)
    plain = torch.nn.functional.conv2d(features, kernel, None, *geometry, groups)
    taps = kernel_hw[0] * kernel_hw[1]
    # Far enough to leave the features on every side.
    offsets = random(1, own * taps * 2, *plain.shape[2:], seed=2, scale=3.0)
    weights = random(1, own * taps, *plain.shape[2:], seed=3).sigmoid() if modulated else None
    expected = deform_conv2d(features, offsets, kernel, None, *geometry, weights)
    found = deformable_convolution(features, offsets, weights, kernel, *geometry, groups)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-5)


def test_without_offsets_it_is_a_convolution() -> None:
    features, kernel = random(1, 4, 1, 7, seed=4), random(6, 4, 3, 3, seed=5)
    offsets = torch.zeros(1, 18, 1, 7)
    found = deformable_convolution(features, offsets, None, kernel, 1, 1, 1, 1)
    expected = torch.nn.functional.conv2d(features, kernel, padding=1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)

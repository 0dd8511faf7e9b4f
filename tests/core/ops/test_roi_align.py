"""The ATen form of RoIAlign against torchvision's and against the definition, sample by sample."""

import math

import pytest
import torch
from torch import Tensor

from d2seg.core.ops.roi_align import roi_align

SCALE = 1 / 16
FEATURES = torch.randn(2, 3, 25, 38, generator=torch.Generator().manual_seed(0))


def regions() -> Tensor:
    """Small, ordinary and huge regions inside and outside of the 400x608 image, and odd ones."""
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(60, 2, generator=generator) * torch.tensor([688.0, 480.0]) - 80
    largest = torch.tensor([3.0, 200.0, 2500.0]).repeat_interleave(20)[:, None]
    size = torch.rand(60, 2, generator=generator) * largest
    image = (torch.arange(60) % 2)[:, None]
    odd = [
        [0, 10, 10, 10, 10],  # no area
        [0, 50, 50, 20, 20],  # corners swapped
        [0, 8, 8, 8, 300],  # no width
        [1, 0, 0, 608, 400],  # the whole image
        [1, -500, -500, -400, -400],  # beside the image
        [0, -16, -16, 16, 16],  # within the border that still counts
        [1, 607, 399, 640, 430],
    ]
    return torch.cat([torch.cat([image, corner, corner + size], dim=1), torch.tensor(odd).float()])


def sample(feature: Tensor, y: float, x: float) -> Tensor:
    """One bilinear sample of a (C, H, W) map, zero more than one cell outside."""
    height, width = feature.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return torch.zeros(feature.shape[0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = feature[:, top, left] * (1 - x + left) + feature[:, top, right] * (x - left)
    lower = feature[:, bottom, left] * (1 - x + left) + feature[:, bottom, right] * (x - left)
    return upper * (1 - y + top) + lower * (y - top)


@pytest.mark.parametrize("aten_only", [False, True])
def test_cell_is_the_mean_of_its_samples(aten_only: bool) -> None:
    x1, y1, x2, y2 = 37.0, -9.0, 301.5, 222.0
    pooled = roi_align(
        FEATURES, torch.tensor([[1, x1, y1, x2, y2]]), (5, 5), SCALE, 0, True, aten_only
    )
    cell_w, cell_h = (x2 - x1) * SCALE / 5, (y2 - y1) * SCALE / 5
    count_w, count_h = math.ceil(cell_w), math.ceil(cell_h)
    assert (count_w, count_h) == (4, 3)
    for row, column in ((0, 0), (0, 4), (2, 1), (4, 3)):
        samples = [
            sample(
                FEATURES[1],
                y1 * SCALE - 0.5 + (row + (i + 0.5) / count_h) * cell_h,
                x1 * SCALE - 0.5 + (column + (j + 0.5) / count_w) * cell_w,
            )
            for i in range(count_h)
            for j in range(count_w)
        ]
        expected = torch.stack(samples).mean(dim=0)
        torch.testing.assert_close(pooled[0, :, row, column], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 3])
@pytest.mark.parametrize("output_size", [1, 7, 14])
def test_aten_form_equals_torchvision(output_size: int, sampling_ratio: int, aligned: bool) -> None:
    rois = regions()
    arguments = (FEATURES, rois, (output_size, 5), SCALE, sampling_ratio, aligned)
    expected = roi_align(*arguments, False)
    assert expected.abs().amax(dim=(1, 2, 3)).count_nonzero() > 30
    torch.testing.assert_close(roi_align(*arguments, True), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("aten_only", [False, True])
def test_empty_and_batch_of_other_memory_format(aten_only: bool) -> None:
    rois = regions()
    none = roi_align(FEATURES, rois[:0], (7, 5), SCALE, 0, True, aten_only)
    assert none.shape == (0, 3, 7, 5)
    plain = roi_align(FEATURES, rois, (7, 7), SCALE, 0, True, aten_only)
    strided = FEATURES.to(memory_format=torch.channels_last)
    torch.testing.assert_close(roi_align(strided, rois, (7, 7), SCALE, 0, True, aten_only), plain)


def test_all_regions_without_area_give_zeros() -> None:
    rois = torch.tensor([[0.0, 40.0, 30.0, 40.0, 30.0], [1.0, 80.0, 10.0, 80.0, 10.0]])
    assert roi_align(FEATURES, rois, (7, 7), SCALE, 0, True, aten_only=True).count_nonzero() == 0


def test_gradient_flows_to_the_features() -> None:
    features = FEATURES.clone().requires_grad_()
    rois = regions()
    weight = torch.randn(len(rois), 3, 7, 7, generator=torch.Generator().manual_seed(2))
    gradients = [
        torch.autograd.grad(
            (roi_align(features, rois, (7, 7), SCALE, 2, True, form) * weight).sum(), features
        )[0]
        for form in (False, True)
    ]
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.parametrize("aten_only", [False, True])
def test_scripted_equals_eager(aten_only: bool) -> None:
    scripted = torch.jit.script(roi_align)
    rois = regions()
    for chosen in (rois, rois[:1], rois[:0]):
        arguments = (FEATURES, chosen, (7, 7), SCALE, 0, True, aten_only)
        assert torch.equal(scripted(*arguments), roi_align(*arguments))


@pytest.mark.parametrize("aten_only", [False, True])
@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_features_of_another_type_keep_it(kind: torch.dtype, aten_only: bool) -> None:
    rois, features = regions(), FEATURES.to(kind)
    pooled = roi_align(features, rois, (7, 7), SCALE, 0, True, aten_only)
    assert pooled.dtype == kind
    expected = roi_align(features.double(), rois.double(), 7, SCALE, 0, True)
    # In float64 nothing is lost; bfloat16 rounds the result once.
    tolerance = 1e-12 if kind == torch.float64 else 2**-8
    torch.testing.assert_close(pooled.double(), expected, atol=tolerance / 4, rtol=tolerance)

"""RoIAlign by gathering is torchvision's operator, backwards too."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align as torchvision_roi_align

from d2seg.core.ops import gathered_roi_align as module
from d2seg.core.ops.gathered_roi_align import can_gather
from d2seg.core.ops.pooling import pool_multilevel
from d2seg.core.ops.roi_align import roi_align

SIZE_HW = (23, 37)


def maps() -> Tensor:
    return torch.randn(2, 16, *SIZE_HW).contiguous(memory_format=torch.channels_last)


def regions() -> Tensor:
    """Boxes of all shapes: inside, over each border, off the map, tiny, without area, and huge."""
    height, width = SIZE_HW[0] * 4.0, SIZE_HW[1] * 4.0
    odd = torch.tensor(
        [
            [5.0, 5.0, 5.0, 5.0],
            [9.0, 40.0, 6.0, 30.0],  # corners in the wrong order
            [-30.0, -20.0, 15.0, 11.0],
            [width - 9, height - 7, width + 50, height + 40],
            [width + 99, 3.0, width + 140, 20.0],
            [0.0, 0.0, width, height],
            [3.0, -500.0, 6.0, 900.0],
            [7.0, 8.0, 7.1, 8.2],
        ]
    )
    corner = torch.rand(30, 2) * torch.tensor([width, height])
    boxes = torch.cat([odd, torch.cat([corner, corner + 60 * torch.rand(30, 2)], dim=1)])
    image = torch.randint(0, 2, (len(boxes), 1)).float()
    return torch.cat([image, boxes], dim=1)


@pytest.mark.parametrize("at_once", [module._PIXELS_AT_ONCE, 1])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2])
@pytest.mark.parametrize("aligned", [False, True])
@torch.no_grad()
def test_it_is_torchvisions(
    monkeypatch: pytest.MonkeyPatch, at_once: int, sampling_ratio: int, aligned: bool
) -> None:
    monkeypatch.setattr(module, "_PIXELS_AT_ONCE", at_once)
    features, rois = maps(), regions()
    arguments = (rois, (3, 5), 0.25, sampling_ratio, aligned)
    expected = torchvision_roi_align(features, *arguments)
    found = roi_align(features, *arguments)
    assert found.shape == (len(rois), 16, 3, 5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, atol=3e-6, rtol=1e-5)
    none = roi_align(features, rois[:0], *arguments[1:])
    assert none.shape == (0, 16, 3, 5)


@torch.no_grad()
def test_levels_are_pooled_to_where_they_belong() -> None:
    pyramid = [maps(), maps()[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)]
    rois = regions()
    rois[:, 1:] *= 4

    def pool(features: list[Tensor]) -> Tensor:
        scales = [1 / 16, 1 / 32]
        return pool_multilevel(features, rois[:, 1:], rois[:, 0], (4, 3), scales, 0, True, 224.0, 5)

    found = pool(pyramid)
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected = pool([level.contiguous() for level in pyramid])
    torch.testing.assert_close(found, expected, atol=3e-6, rtol=1e-5)


@pytest.mark.parametrize("at_once", [module._PIXELS_AT_ONCE, 500])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_gradients_are_torchvisions(
    monkeypatch: pytest.MonkeyPatch, at_once: int, sampling_ratio: int, aligned: bool
) -> None:
    monkeypatch.setattr(module, "_PIXELS_AT_ONCE", at_once)
    features, rois = maps().requires_grad_(), regions()
    arguments = (rois, (3, 5), 0.25, sampling_ratio, aligned)
    grad = torch.randn(len(rois), 16, 3, 5)
    (expected,) = torch.autograd.grad(torchvision_roi_align(features, *arguments), features, grad)
    (found,) = torch.autograd.grad(roi_align(features, *arguments), features, grad)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_gradients_of_levels() -> None:
    rois = regions()
    rois[:, 1:] *= 4
    frozen = maps()
    levels = [frozen, maps()[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)]
    levels[1].requires_grad_()

    def gradient(features: list[Tensor]) -> Tensor:
        scales = [1 / 16, 1 / 32]
        pooled = pool_multilevel(
            features, rois[:, 1:], rois[:, 0], (4, 3), scales, 0, True, 224.0, 5
        )
        return torch.autograd.grad((pooled * weight).sum(), levels[1])[0]

    weight = torch.randn(len(rois), 16, 4, 3)
    expected = gradient([level.contiguous() for level in levels])
    torch.testing.assert_close(gradient(levels), expected, atol=1e-5, rtol=1e-5)


def test_gradients_in_half_precision() -> None:
    rois, grad = regions(), torch.randn(len(regions()), 16, 3, 5)
    exact = maps().requires_grad_()
    half = exact.detach().bfloat16().requires_grad_()

    def gradient(features: Tensor) -> Tensor:
        pooled = roi_align(features, rois, (3, 5), 0.25, 2, True)
        return torch.autograd.grad(pooled, features, grad.to(pooled.dtype))[0]

    found, expected = gradient(half), gradient(exact)
    assert found.dtype == torch.bfloat16
    assert float((found - expected).abs().max()) < 0.02 * float(expected.abs().max())


def test_when_it_serves() -> None:
    assert can_gather(maps())
    assert not can_gather(maps().contiguous())
    assert not can_gather(maps().double())
    assert not can_gather(maps()[:, :3])


def test_nothing_is_gathered_while_somebody_records() -> None:
    def tell(features: Tensor) -> Tensor:
        return torch.zeros_like(features) + int(can_gather(features))

    assert tell(maps()).all()
    assert not torch.jit.trace(tell, maps(), check_trace=False)(maps()).any()
    assert not torch.compile(tell, backend="eager", fullgraph=True)(maps()).any()

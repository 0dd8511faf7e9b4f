"""Fused layers give what the layers give one by one, whatever happens to the model in between."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.layers import FrozenBatchNorm2d
from d2seg.core.layers.conv import (
    Conv2d,
    channels_last,
    convolve,
    fusing,
    is_fusing,
    run_where_trained,
)


def filled(layer: Any) -> Any:
    """Give a norm statistics and factors that change something."""
    with torch.no_grad():
        for name in ("running_mean", "weight", "bias"):
            getattr(layer, name).normal_()
        layer.running_var.uniform_(0.5, 2.0)
    return layer


NORMS: dict[str, Callable[[], nn.Module | None]] = {
    "none": lambda: None,
    "frozen": lambda: filled(FrozenBatchNorm2d(6)),
    "batch": lambda: filled(nn.BatchNorm2d(6)),
    "group": lambda: nn.GroupNorm(2, 6),
}


def layer(norm: str = "frozen", **kwargs: Any) -> Conv2d:
    options = {"padding": 1, "bias": norm in ("none", "batch"), **kwargs}
    return Conv2d(4, 6, 3, norm=NORMS[norm](), **options).eval()


def image() -> Tensor:
    return torch.randn(2, 4, 9, 14).contiguous(memory_format=torch.channels_last)


def by_hand(conv: Conv2d, x: Tensor, relu: bool, residual: Tensor | None) -> Tensor:
    out = F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)
    out = out if conv.norm is None else conv.norm(out)
    out = out if conv.activation is None else conv.activation(out)
    out = out if residual is None else out + residual
    return F.relu(out) if relu else out


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", [None, nn.ReLU(), torch.tanh])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("add", [False, True])
@torch.no_grad()
def test_fused_is_one_by_one(norm: str, activation: Any, relu: bool, add: bool) -> None:
    x = image()
    conv = layer(norm, activation=activation, stride=2, dilation=2, groups=2)
    residual = torch.randn_like(conv(x)) if add else None
    kept = x.clone(), None if residual is None else residual.clone()
    expected = by_hand(conv, x, relu, residual)
    torch.testing.assert_close(convolve(conv, x, relu=relu, residual=residual), expected)
    assert torch.equal(x, kept[0])
    assert residual is None or torch.equal(residual, kept[1])
    own = None if residual is None else residual.clone()
    again = convolve(conv, x, relu=relu, residual=own, owned=True)
    torch.testing.assert_close(again, expected)
    if residual is None and not relu:
        torch.testing.assert_close(conv(x), expected)


def test_nothing_is_kept_between_calls() -> None:
    conv, x = layer(), image()
    names = set(conv.state_dict())
    with torch.no_grad():
        first = conv(x)
        conv.weight.data.mul_(3.0)  # which autograd does not notice
        conv.norm.running_var.data.add_(1.0)
        second = conv(x)
        torch.testing.assert_close(second, by_hand(conv, x, False, None))
    assert not torch.allclose(first, second)
    assert set(conv.state_dict()) == names
    conv(x).sum().backward()
    assert conv.weight.grad is not None
    with torch.no_grad():
        conv.double()
        torch.testing.assert_close(conv(x.double()), by_hand(conv, x.double(), False, None))


def test_a_norm_in_training_is_not_folded() -> None:
    conv = layer("batch").train()
    other = copy.deepcopy(conv)
    x = image()
    with torch.no_grad():
        torch.testing.assert_close(conv(x), by_hand(other, x, False, None))
    assert conv.norm is not None
    torch.testing.assert_close(conv.norm.running_mean, other.norm.running_mean)


@pytest.mark.parametrize("watched", ["layer", "norm"])
@torch.no_grad()
def test_hooks_see_what_they_wait_for(watched: str) -> None:
    conv, x = layer(activation=nn.ReLU()), image()
    module = conv if watched == "layer" else conv.norm
    seen: list[Tensor] = []
    with module.register_forward_hook(lambda _, args, out: seen.append(out.clone())):
        out = convolve(conv, x, relu=True, residual=torch.zeros_like(conv(x)) - 1)
    expected = F.conv2d(x, conv.weight, padding=1)
    expected = conv.norm(expected)
    torch.testing.assert_close(seen[-1], expected.relu() if watched == "layer" else expected)
    torch.testing.assert_close(out, (expected.relu() - 1).relu())


@torch.no_grad()
def test_a_watched_output_is_not_modified_later() -> None:
    conv, x, seen = layer(), image(), []
    with conv.register_forward_hook(lambda _, args, out: seen.append(out)):
        convolve(conv, x, relu=True)
    assert seen[0].min() < 0


def test_a_subclass_computes_what_it_says() -> None:
    class Doubling(Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    conv = Doubling(4, 6, 3, norm=NORMS["frozen"]()).eval()
    x = image()
    with torch.no_grad():
        expected = 2 * by_hand(conv, x, False, None)
        torch.testing.assert_close(convolve(conv, x, relu=True), expected.relu())
        assert convolve(nn.Identity(), x, relu=True).data_ptr() != x.data_ptr()


def test_when_layers_are_fused() -> None:
    assert not is_fusing()  # somebody may ask for gradients
    with torch.no_grad():
        assert is_fusing()
        with fusing(False):
            assert not is_fusing()
            assert channels_last(torch.zeros(1, 3, 2, 2)).is_contiguous()
        assert is_fusing()
        seen: list[bool] = []
        record = lambda x: (seen.append(is_fusing()), x + 1)[1]  # noqa: E731
        torch.jit.trace(record, torch.zeros(1), check_trace=False)
        assert seen
        assert not any(seen)
    x = torch.zeros(2, 3, 4, 5)
    with torch.inference_mode():
        assert channels_last(x).is_contiguous(memory_format=torch.channels_last)
    assert channels_last(x).is_contiguous(memory_format=torch.channels_last)  # a training


def test_a_frozen_layer_is_run_as_in_inference() -> None:
    seen: list[bool] = []

    class Seeing(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(torch.is_grad_enabled())
            return super().forward(x)

    x = torch.randn(1, 2, 4, 5)
    trained, frozen = Seeing(2, 2, 3), Seeing(2, 2, 3).requires_grad_(False)
    assert run_where_trained(trained, x).requires_grad
    assert not run_where_trained(frozen, x).requires_grad
    assert run_where_trained(frozen, x.requires_grad_()).requires_grad
    with torch.no_grad():
        assert not run_where_trained(trained, x).requires_grad
    assert seen == [True, False, True, False]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", [None, nn.ReLU(), torch.tanh])
def test_gradients_of_sums_are_those_of_one_by_one(norm: str, activation: Any) -> None:
    conv, x = layer(norm, activation=activation), image()
    residual = torch.randn(2, 6, 9, 14, requires_grad=True)

    def gradients(out: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((out * out.detach().cos()).sum(), [conv.weight, residual])

    kept = residual.detach().clone()
    found = gradients(convolve(conv, x, residual=residual))
    assert torch.equal(residual, kept)
    torch.testing.assert_close(found, gradients(by_hand(conv, x, False, residual)))


@torch.no_grad()
def test_automatic_precision_is_kept() -> None:
    conv, x = layer(), image()
    with torch.autocast("cpu", torch.bfloat16):
        out = convolve(
            conv, x, relu=True, residual=torch.zeros_like(x[:, :1]).expand(-1, 6, -1, -1)
        )
    assert out.dtype == torch.bfloat16
    expected = by_hand(conv, x, True, None)
    assert float((out - expected).abs().max()) < 0.02 * float(expected.max())

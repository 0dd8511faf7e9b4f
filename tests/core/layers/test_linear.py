"""A linear layer by oneDNN gives what PyTorch's gives, and so do its gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import grad, jacfwd, jacrev, vmap
from torch.profiler import ProfilerActivity, profile

from d2seg.core.layers import Linear
from d2seg.core.layers.conv import fusing

SHAPES = [(7, 12), (2, 3, 5, 12), (0, 12), (1, 12), (12,)]


def operators(layer: Linear, x: Tensor) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as recorded:
        layer(x)
    return {event.key for event in recorded.key_averages()}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [False, True])
def test_result_and_gradients_are_those_of_pytorch(shape: tuple[int, ...], bias: bool) -> None:
    layer = Linear(12, 6, bias=bias)
    x = torch.randn(shape, requires_grad=True)
    factors = torch.randn(6)
    inputs = [x, *layer.parameters()]
    found = layer(x)
    expected = F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad((found * factors).sum(), inputs),
        torch.autograd.grad((expected * factors).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_gradient_that_is_one_number_repeated() -> None:
    layer = Linear(12, 6)
    x = torch.randn(4, 12, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x).sum(), x)
    torch.testing.assert_close(gradient, layer.weight.sum(dim=0).expand(4, 12))


def test_gradient_of_the_gradient() -> None:
    layer = Linear(12, 6)
    x = torch.randn(4, 12, requires_grad=True)

    def penalty(y: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), layer.weight)[0]

    expected = penalty(F.linear(x, layer.weight, layer.bias))
    torch.testing.assert_close(penalty(layer(x)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transform", [grad, vmap, jacrev, jacfwd])
def test_transforms_are_those_of_pytorch(transform: Callable[..., Any]) -> None:
    layer, plain = Linear(12, 6), nn.Linear(12, 6)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 12)

    def transformed(one: nn.Module) -> Tensor:
        def computed(y: Tensor) -> Tensor:
            return one(y).square().sum() if transform is grad else one(y)

        return transform(computed)(x)

    torch.testing.assert_close(transformed(layer), transformed(plain))


def test_forward_mode_gradient() -> None:
    layer, x, direction = Linear(12, 6), torch.randn(4, 12), torch.randn(4, 12)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, direction))).tangent
    torch.testing.assert_close(found, F.linear(direction, layer.weight))


def test_input_that_is_no_contiguous_matrix() -> None:
    layer = Linear(12, 6)
    x = torch.randn(3, 12, 5).transpose(1, 2)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


def test_who_computes_it() -> None:
    layer, x = Linear(12, 6), torch.randn(7, 12)
    assert "mkldnn::_linear_pointwise" in operators(layer, x)
    with fusing(False):
        assert "mkldnn::_linear_pointwise" not in operators(layer, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.double()(x.double()).dtype == torch.float64


def test_recorded_layers_are_pytorch_s_own() -> None:
    layer, x = Linear(12, 6), torch.randn(7, 12)
    traced = torch.jit.trace(layer, x)
    scripted = torch.jit.script(layer)
    exported = torch.export.export(layer, (x,))
    assert "mkldnn" not in f"{traced.graph}{scripted.graph}{exported.graph}"
    torch.testing.assert_close(traced(x), layer(x))
    torch.testing.assert_close(scripted(x), layer(x))

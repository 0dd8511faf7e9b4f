"""A convolution whose backward pass skips what has no gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from d2seg.core.modeling.proposal_generator import few_gradients, rpn_head
from d2seg.core.modeling.proposal_generator.few_gradients import conv2d_with_few_gradients
from d2seg.core.modeling.proposal_generator.rpn_head import StandardRPNHead

CORNERS = [(0, 0, 0), (0, 0, 12), (1, 8, 0), (1, 8, 12), (0, 4, 6), (0, 4, 7)]


def gradients(convolve: object, kernel: int, cells: list[tuple[int, int, int]]) -> list[Tensor]:
    """Return the gradients of input, weight and bias from these cells (image, row, column)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 9, 13, generator=generator, requires_grad=True)
    weight = torch.randn(5, 3, kernel, kernel, generator=generator, requires_grad=True)
    bias = torch.randn(5, generator=generator, requires_grad=True)
    out = convolve(x, weight, bias)
    mask = torch.zeros_like(out)
    for image, row, column in cells:
        mask[image, :, row, column] = torch.randn(5, generator=generator)
    (out * mask).sum().backward()
    return [out.detach(), x.grad, weight.grad, bias.grad]


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(
    "cells", [[], CORNERS, [(1, y, x) for y in range(9) for x in range(13)]],
    ids=["none", "few", "many"],
)  # fmt: skip
def test_it_is_the_convolution(kernel: int, cells: list[tuple[int, int, int]]) -> None:
    found = gradients(conv2d_with_few_gradients, kernel, cells)
    plain = gradients(lambda *args: F.conv2d(*args, padding=kernel // 2), kernel, cells)
    for one, other in zip(found, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_few_cells_go_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_gradients, "_all_gradients", None)
    gradients(conv2d_with_few_gradients, 3, CORNERS)
    monkeypatch.setattr(few_gradients, "_few_gradients", None)
    with pytest.raises(TypeError):
        gradients(conv2d_with_few_gradients, 3, CORNERS)


@pytest.mark.parametrize("conv_dims", [(-1,), (6, -1)])
def test_a_head_in_training_has_the_gradients_of_its_layers(conv_dims: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    head = StandardRPNHead(in_channels=4, num_anchors=3, conv_dims=conv_dims)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    levels = [torch.randn(2, 4, 11, 14), torch.randn(2, 4, 6, 7)]
    results = []
    for watched in (False, True):
        if watched:  # then the layers themselves are called
            next(iter(head.conv.modules())).register_forward_hook(lambda *_: None)
        head.zero_grad()
        inputs = [level.clone().requires_grad_() for level in levels]
        logits, deltas = head(inputs)
        (logits[0][1, 2, 3, 4] + 2 * deltas[1][0, 5, 2, 6]).backward()
        own = [parameter.grad for parameter in head.parameters()]
        results.append([*logits, *deltas, *(one.grad for one in inputs), *own])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_elsewhere_than_on_a_cpu_the_layers_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU would be waited for to find the cells."""
    monkeypatch.setattr(rpn_head, "conv2d_with_few_gradients", None)
    head = StandardRPNHead(in_channels=4, num_anchors=3)
    logits, _ = head.to("meta")([torch.randn(2, 4, 11, 14, device="meta")])
    assert logits[0].shape == (2, 3, 11, 14) and logits[0].requires_grad
    with pytest.raises(TypeError):
        StandardRPNHead(in_channels=4, num_anchors=3)([torch.randn(2, 4, 11, 14)])


def test_half_precision() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(conv2d_with_few_gradients, 3, CORNERS)
        plain = gradients(lambda *args: F.conv2d(*args, padding=1), 3, CORNERS)
    assert found[0].dtype == torch.bfloat16
    for one, other in zip(found[1:], plain[1:], strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)

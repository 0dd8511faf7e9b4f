"""A convolution most of whose output has no gradient, as where a few anchors are trained on."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_MOST = 1 / 16
"""Up to this share of cells with a gradient it is faster to go through them alone."""


def conv2d_with_few_gradients(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve with stride 1, keeping the size; the backward pass skips cells of gradient 0.

    A region proposal network computes every cell, but is trained on 256 anchors of an image: of
    the gradients of its convolution, and of the work for them, all but a thousandth are zeros.
    Gradients are those of ``torch.nn.functional.conv2d``; second ones are not there.

    Args:
        x: (B, C, H, W) float.
        weight: (O, C, k, k), of the type of x or, under autocast, another; k is odd.
        bias: (O,) or None.

    Returns:
        (B, O, H, W).
    """
    convolved: Tensor = _FewGradients.apply(x, weight, bias)
    return convolved


class _FewGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.has_bias)
        cells = (grad != 0).any(dim=1).nonzero()  # [n,3]: image, row, column
        compute = _few_gradients if len(cells) <= _MOST * grad[:, 0].numel() else _all_gradients
        found = compute(grad, cells, x.to(grad.dtype), weight.to(grad.dtype), wanted)
        return _as(found[0], x), _as(found[1], weight), found[2]


def _as(gradient: Tensor | None, of: Tensor) -> Tensor | None:
    return gradient if gradient is None else gradient.to(of.dtype)


def _all_gradients(
    grad: Tensor, cells: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    padding = weight.shape[-1] // 2
    sizes = [weight.shape[0]]
    found: tuple[Tensor | None, Tensor | None, Tensor | None] = torch.ops.aten.convolution_backward(
        *(grad, x, weight, sizes, [1, 1], [padding, padding], [1, 1], False, [0, 0], 1, wanted)
    )
    return found


def _few_gradients(
    grad: Tensor, cells: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    channels, height, width = x.shape[1:]
    k = weight.shape[-1]
    image, row, column = cells.unbind(dim=1)
    of_cells = grad[image, :, row, column]  # [n,O]
    around = torch.arange(k, device=x.device) - k // 2
    rows = row[:, None, None] + around[:, None].expand(k, k)  # [n,k,k]
    columns = column[:, None, None] + around.expand(k, k)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    place = image[:, None, None].expand_as(rows)[inside], rows[inside], columns[inside]  # [m] each

    grad_x = grad_weight = None
    if wanted[0]:
        flat_weight = weight.permute(0, 2, 3, 1).flatten(1)  # [O,k*k*C]
        spread = (of_cells @ flat_weight).view(*rows.shape, channels)[inside]  # [m,C]
        grad_x = torch.zeros_like(x)
        grad_x.permute(0, 2, 3, 1).index_put_(place, spread, accumulate=True)
    if wanted[1]:
        patches = x.new_zeros(*rows.shape, channels)  # [n,k,k,C]
        patches[inside] = x.permute(0, 2, 3, 1)[place]
        flat = of_cells.T @ patches.flatten(1)  # [O,k*k*C]
        grad_weight = flat.view(len(weight), k, k, channels).permute(0, 3, 1, 2).contiguous()
    return grad_x, grad_weight, of_cells.sum(dim=0) if wanted[2] else None

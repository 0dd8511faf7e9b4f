"""Linear layer whose matrix products are oneDNN's on a CPU.

PyTorch gives products of single precision to MKL, which on processors of AMD leaves half of their
rate unused; oneDNN, which comes with PyTorch too, does not.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from d2seg.core.layers.conv import may_replace_operators


class Linear(nn.Linear):
    """``torch.nn.Linear`` with another library behind it; its results differ in rounding alone.

    Tools that choose layers by their exact type, as ``torch.ao.quantization.quantize_dynamic`` does
    with ``{nn.Linear}``, do not see this class.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        if torch.jit.is_scripting():
            return F.linear(x, self.weight, self.bias)
        else:  # which TorchScript leaves out
            return _linear(x, self.weight, self.bias)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not _is_for_onednn(x, weight):
        return F.linear(x, weight, bias)
    product: Tensor = _Product.apply(x.reshape(-1, x.shape[-1]), weight, bias)
    return product.view(*x.shape[:-1], -1)


def _is_for_onednn(x: Tensor, weight: Tensor) -> bool:
    return bool(
        may_replace_operators()
        and not _is_transformed()
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.dim() > 1
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and torch.backends.mkldnn.enabled
    )


def _is_transformed() -> bool:
    """Tell whether ``torch.func`` or forward-mode differentiation is at work, for PyTorch's own."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


class _Product(torch.autograd.Function):
    """left @ right.T + bias, of (n, k), (m, k) and (m,) or None."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(left, right)
        return torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        left, right = ctx.saved_tensors
        wants_left, wants_right, wants_bias = ctx.needs_input_grad
        return (
            _Product.apply(grad, right.t(), None) if wants_left else None,
            _Product.apply(grad.t(), left.t(), None) if wants_right else None,
            grad.sum(dim=0) if wants_bias else None,
        )

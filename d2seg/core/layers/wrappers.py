"""PyTorch layers with the small extras that detectron2's public API gives them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.layers.batch_norm import FrozenBatchNorm2d

BatchNorm2d = nn.BatchNorm2d
ConvTranspose2d = nn.ConvTranspose2d
Linear = nn.Linear
interpolate = F.interpolate


class Conv2d(nn.Conv2d):
    """Convolution followed by an optional norm and an optional activation.

    Args:
        *args: As of ``torch.nn.Conv2d``.
        norm: Applied to the output of the convolution.
        activation: Applied last.
        **kwargs: As of ``torch.nn.Conv2d``.
    """

    def __init__(
        self,
        *args: Any,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H', W')."""
        if not torch.jit.is_scripting() and _is_foldable(self.norm):
            x = self._conv_forward(x, *self._with_norm())
        else:
            x = self._conv_forward(x, self.weight, self.bias)
            if self.norm is not None:
                x = self.norm(x)
        if self.activation is not None:
            x = self.activation(x)
        return x

    def _with_norm(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias that do what the convolution and its fixed norm do together.

        Weights are small beside feature maps, which the norm then goes over neither in the forward
        pass nor in the backward.
        """
        scale, shift = self.norm.scale_and_shift()  # type: ignore[union-attr, operator]
        if self.bias is not None:
            shift = shift + self.bias * scale
        return self.weight * scale[:, None, None, None], shift


def _is_foldable(norm: nn.Module | None) -> bool:
    """Tell whether a norm is fixed, in training, and nobody waits for what goes into it."""
    is_fixed = type(norm) is FrozenBatchNorm2d and torch.is_grad_enabled()
    return is_fixed and not norm._forward_hooks and not norm._forward_pre_hooks  # type: ignore[union-attr]


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Concatenate tensors; a single one is returned as it is, without a copy."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors), dim)


def cross_entropy(
    logits: Tensor, target: Tensor, *, reduction: str = "mean", **kwargs: Any
) -> Tensor:
    """Compute cross entropy that is 0 (with a gradient of 0) where there is nothing to average."""
    if target.numel() == 0 and reduction == "mean":
        return logits.sum() * 0.0
    return F.cross_entropy(logits, target, reduction=reduction, **kwargs)


def nonzero_tuple(x: Tensor) -> tuple[Tensor, ...]:
    """Return the indices of the nonzero entries, one (N,) int64 tensor for each dimension."""
    return x.nonzero(as_tuple=True)


def empty_input_loss_func_wrapper(loss_func: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a mean loss 0, with a gradient of 0, where there is nothing to average."""

    def wrapped(input: Tensor, target: Tensor, *, reduction: str = "mean", **kwargs: Any) -> Tensor:
        if target.numel() == 0 and reduction == "mean":
            return input.sum() * 0.0
        return loss_func(input, target, reduction=reduction, **kwargs)

    return wrapped


def shapes_to_tensor(x: Sequence[Any], device: torch.device | None = None) -> Tensor:
    """Turn numbers, or while tracing scalar tensors, into one tensor (N,)."""
    if any(isinstance(value, Tensor) for value in x):
        return torch.stack([torch.as_tensor(value, device=device) for value in x])
    return torch.as_tensor(x, device=device)


def move_device_like(src: Tensor, dst: Tensor) -> Tensor:
    """Return a tensor on the device of another one."""
    return src.to(dst.device)


def check_if_dynamo_compiling() -> bool:
    """Tell whether ``torch.compile`` is reading this code at the moment."""
    return torch.compiler.is_compiling()

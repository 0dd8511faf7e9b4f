"""PyTorch layers with the small extras that detectron2's public API gives them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.layers.conv import Conv2d
from d2seg.core.layers.linear import Linear

__all__ = [
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "Linear",
    "cat",
    "check_if_dynamo_compiling",
    "cross_entropy",
    "empty_input_loss_func_wrapper",
    "interpolate",
    "move_device_like",
    "nonzero_tuple",
    "shapes_to_tensor",
]

BatchNorm2d = nn.BatchNorm2d
ConvTranspose2d = nn.ConvTranspose2d
interpolate = F.interpolate


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

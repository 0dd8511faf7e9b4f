"""Argument types as people and type checkers see them, and as TorchScript does.

The structures take integers, slices and tensors as an index, and names of devices. TorchScript
knows no unions with those types; it compiles the methods for tensors and for `torch.device`.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    Index = int | slice | Tensor
    Device = torch.device
    DeviceLike = torch.device | str
    TensorLike = Any
else:
    Index = Tensor
    Device = torch.device
    DeviceLike = torch.device
    TensorLike = Tensor


def to_device(tensor: Tensor, device: DeviceLike) -> Tensor:
    """Return a tensor on a device; a copy from the host to a GPU is queued, and not waited for."""
    if not torch.jit.is_scripting():  # noqa: SIM102  (TorchScript drops it only when alone)
        if tensor.device.type == "cpu" and torch.device(device).type == "cuda":
            return tensor.to(device=device, non_blocking=True)
    return tensor.to(device=device)


def moved(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return ``tensor.to(...)``, with `to_device` where nothing but a device is given."""
    if len(args) == 1 and not kwargs and isinstance(args[0], str | torch.device):
        return to_device(tensor, args[0])
    return tensor.to(*args, **kwargs)


def float_rows(values: TensorLike, width: int, name: str) -> Tensor:
    """Return boxes as a float32 tensor (N, width).

    Args:
        values: Tensor, array or nested list; without elements it becomes (0, width). A float32
            tensor is returned itself.
        width: Numbers of a box.
        name: Of the class of the boxes, for the error.

    Raises:
        ValueError: Another shape.
    """
    if isinstance(values, Tensor):
        rows = values.to(torch.float32)
    else:
        rows = torch.as_tensor(values, dtype=torch.float32)
    if rows.numel() == 0:
        rows = rows.reshape(-1, width)
    if rows.dim() != 2 or rows.shape[1] != width:
        raise ValueError(f"{name} has to be given a tensor (N, {width}); found {list(rows.shape)}.")
    return rows

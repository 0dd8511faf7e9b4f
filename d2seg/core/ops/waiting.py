"""Questions to a device whose answers the host need not wait for, or only once.

Work for a GPU is queued. Whatever reads a result on the host waits until the queue is empty, and
leaves the GPU idle until the next work arrives.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def require_all(holds: Tensor, message: str) -> None:
    """Raise ValueError unless all of these are true.

    On a CUDA device the program fails with this message later, when it next waits for the device.

    Args:
        holds: (...) bool.
        message: One sentence of at most 200 characters.
    """
    if not torch.jit.is_scripting():  # noqa: SIM102  (TorchScript drops it only when alone)
        if holds.is_cuda:
            torch._assert_async(holds.all(), message)
            return
    if not bool(holds.all()):
        raise ValueError(message)


def rows_of_groups(groups: Tensor, num_groups: int) -> list[Tensor]:
    """List the rows of each group.

    Args:
        groups: (N,) integer, the group of each row; those from ``num_groups`` on are not listed.
        num_groups: G.

    Returns:
        For each of the G groups its rows, (N_g,) int64, rising.
    """
    if not torch.jit.is_scripting():  # noqa: SIM102  (TorchScript drops it only when alone)
        if groups.device.type != "cpu" and not _is_recorded():
            return rows_of_groups_by_sorting(groups, num_groups)
    return [torch.nonzero(groups == group)[:, 0] for group in range(num_groups)]


def rows_of_groups_by_sorting(groups: Tensor, num_groups: int) -> list[Tensor]:
    """Do what `rows_of_groups` does, and wait for the device once instead of for each group."""
    order = torch.argsort(groups, stable=True)
    wanted = torch.arange(num_groups, device=groups.device)
    counts: list[int] = (groups[:, None] == wanted).sum(dim=0).tolist()
    return list(order[: sum(counts)].split(counts))


def to_numbers(values: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Read numbers, those of one device and type together.

    Args:
        values: Name to number, or to tensor of one element.
    """
    alike: dict[Any, dict[str, Tensor]] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            of_kind = alike.setdefault((value.device, value.dtype), {})
            of_kind[name] = value.detach().reshape(())
    read: dict[str, float] = {}
    for of_kind in alike.values():
        read.update(zip(of_kind, torch.stack(list(of_kind.values())).tolist(), strict=True))
    return {name: float(read.get(name, value)) for name, value in values.items()}


def _is_recorded() -> bool:
    """Tell whether numbers read on the host would become constants."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()

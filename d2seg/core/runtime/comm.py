"""Processes that work together: who am I, wait for all, collect what each one has.

Everything works without ``torch.distributed`` being initialised: there is one process then.
"""

from functools import cache
from typing import Any

import torch.distributed as dist


def get_world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if _is_distributed() else 1


def get_rank() -> int:
    """Return the number of this process among all, from 0."""
    return dist.get_rank() if _is_distributed() else 0


def is_main_process() -> bool:
    """Tell whether this process is the one that writes files and reports."""
    return get_rank() == 0


def synchronize() -> None:
    """Wait until every process has come here."""
    if get_world_size() > 1:
        dist.barrier()


def all_gather(data: Any) -> list[Any]:
    """Return the ``data`` of every process, by rank, in every process.

    Args:
        data: Anything that can be pickled.
    """
    if not _is_distributed():
        return [data]
    gathered: list[Any] = [None] * get_world_size()
    dist.all_gather_object(gathered, data, group=_object_group())
    return gathered


def gather(data: Any, dst: int = 0) -> list[Any]:
    """Return the ``data`` of every process, by rank, in process ``dst``; elsewhere nothing.

    Args:
        data: Anything that can be pickled.
        dst: The rank that gets the list; the others get an empty one.
    """
    if not _is_distributed():
        return [data]
    gathered: list[Any] | None = [None] * get_world_size() if get_rank() == dst else None
    dist.gather_object(data, gathered, dst=dst, group=_object_group())
    return gathered or []


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


@cache
def _object_group() -> Any:
    """Return a group that exchanges CPU memory: NCCL would need the pickles on the GPU."""
    return dist.new_group(backend="gloo") if dist.get_backend() == "nccl" else dist.group.WORLD

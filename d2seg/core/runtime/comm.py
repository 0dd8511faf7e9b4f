"""Processes that work together: who am I, wait for all, collect what each one has.

Everything works without ``torch.distributed`` being initialised: there is one process then.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

_local_group: Any = None


def get_world_size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if _is_distributed() else 1


def get_rank() -> int:
    """Return the number of this process among all, from 0."""
    return dist.get_rank() if _is_distributed() else 0


def create_local_process_group(num_workers_per_machine: int) -> None:
    """Make a group of the processes of each machine; every process must call it once.

    Args:
        num_workers_per_machine: Processes on each machine; it must divide their number.

    Raises:
        ValueError: It does not.
    """
    global _local_group  # noqa: PLW0603
    world = get_world_size()
    if world % num_workers_per_machine:
        raise ValueError(
            f"{world} processes do not divide into machines of {num_workers_per_machine}."
        )
    for start in range(0, world, num_workers_per_machine):
        ranks = list(range(start, start + num_workers_per_machine))
        group = dist.new_group(ranks)
        if get_rank() in ranks:
            _local_group = group


def destroy_process_groups() -> None:
    """Leave the job: end every group, and keep none that could outlive it.

    A gloo group that is still referred to when Python exits aborts the process now and then.
    """
    global _local_group  # noqa: PLW0603
    _local_group = None
    _object_group.cache_clear()
    dist.destroy_process_group()


def get_local_process_group() -> Any:
    """Return the group of the processes of this machine.

    Raises:
        RuntimeError: `create_local_process_group` has not been called.
    """
    if _local_group is None:
        raise RuntimeError("There is no local group; call create_local_process_group() first.")
    return _local_group


def get_local_rank() -> int:
    """Return the number of this process on its machine, from 0."""
    return dist.get_rank(get_local_process_group()) if _is_distributed() else 0


def get_local_size() -> int:
    """Return the number of processes on this machine."""
    return dist.get_world_size(get_local_process_group()) if _is_distributed() else 1


def shared_random_seed() -> int:
    """Return a random number that is the same in every process."""
    return int(all_gather(np.random.randint(2**31))[0])


def reduce_dict(input_dict: Mapping[str, Tensor], average: bool = True) -> dict[str, Tensor]:
    """Add up, or average, tensors of all processes, in process 0; others keep partial sums.

    Args:
        input_dict: Scalars, with the same names in every process.
        average: Divide by the number of processes.
    """
    world = get_world_size()
    if world < 2:
        return dict(input_dict)
    with torch.no_grad():
        names = sorted(input_dict)
        values = torch.stack([input_dict[name] for name in names])
        dist.reduce(values, dst=0)
        if get_rank() == 0 and average:
            values /= world
        return dict(zip(names, values, strict=True))


def is_main_process() -> bool:
    """Tell whether this process is the one that writes files and reports."""
    return get_rank() == 0


def synchronize() -> None:
    """Wait until every process has come here."""
    if get_world_size() > 1:
        dist.barrier()


def all_gather(data: Any, group: Any = None) -> list[Any]:
    """Return the ``data`` of every process, by rank, in every process.

    Args:
        data: Anything that can be pickled.
        group: The processes that take part, as torch names them; None for all.
    """
    if get_world_size() == 1:
        return [data]
    group = _object_group() if group is None else group
    gathered: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(gathered, data, group=group)
    return gathered


def gather(data: Any, dst: int = 0, group: Any = None) -> list[Any]:
    """Return the ``data`` of every process, by rank, in process ``dst``; elsewhere nothing.

    Args:
        data: Anything that can be pickled.
        dst: The rank, among all processes, that gets the list; the others get an empty one.
        group: The processes that take part, as torch names them; None for all.
    """
    if get_world_size() == 1:
        return [data]
    group = _object_group() if group is None else group
    size = dist.get_world_size(group)
    gathered: list[Any] | None = [None] * size if get_rank() == dst else None
    dist.gather_object(data, gathered, dst=dst, group=group)
    return gathered or []


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


@cache
def _object_group() -> Any:
    """Return a group that exchanges CPU memory: NCCL would need the pickles on the GPU."""
    return dist.new_group(backend="gloo") if dist.get_backend() == "nccl" else dist.group.WORLD

"""Processes that work together."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from d2seg.core.runtime import comm


def test_one_process_alone() -> None:
    assert comm.get_world_size() == 1 and comm.get_rank() == 0 and comm.is_main_process()
    comm.synchronize()
    assert comm.all_gather("a") == comm.gather("a") == ["a"]
    assert (comm.get_local_rank(), comm.get_local_size()) == (0, 1)
    losses = {"loss": torch.tensor(2.0)}
    assert comm.reduce_dict(losses) == losses


def exchange_in_groups(rank: int) -> None:
    """Exchange as if each process were a machine of its own."""
    with pytest.raises(RuntimeError, match="call create_local_process_group"):
        comm.get_local_rank()
    with pytest.raises(ValueError, match="2 processes do not divide into machines of 3"):
        comm.create_local_process_group(3)
    comm.create_local_process_group(1)
    assert (comm.get_local_rank(), comm.get_local_size()) == (0, 1)
    assert comm.all_gather(rank, comm.get_local_process_group()) == [rank]
    assert comm.gather(rank, dst=rank, group=comm.get_local_process_group()) == [rank]


def exchange(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        assert (comm.get_rank(), comm.get_world_size()) == (rank, 2)
        assert comm.is_main_process() == (rank == 0)
        comm.synchronize()
        assert comm.all_gather({"rank": rank}) == [{"rank": 0}, {"rank": 1}]
        assert comm.gather(rank * 10) == ([0, 10] if rank == 0 else [])
        assert comm.gather(rank * 10, dst=1) == ([0, 10] if rank == 1 else [])
        exchange_in_groups(rank)
        mean = comm.reduce_dict({"b": torch.tensor(rank + 1.0), "a": torch.tensor(4.0)})
        assert list(mean) == ["a", "b"]
        assert rank > 0 or [value.item() for value in mean.values()] == [4.0, 1.5]
        seeds = comm.all_gather(comm.shared_random_seed())
        assert seeds[0] == seeds[1]
    finally:
        dist.destroy_process_group()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path)


@pytest.mark.slow
def test_two_processes_exchange_what_they_have(folder: str) -> None:
    mp.spawn(exchange, args=(folder,), nprocs=2)

"""Processes that work together."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch.distributed as dist
import torch.multiprocessing as mp

from d2seg.core.runtime import comm


def test_one_process_alone() -> None:
    assert comm.get_world_size() == 1 and comm.get_rank() == 0 and comm.is_main_process()
    comm.synchronize()
    assert comm.all_gather("a") == comm.gather("a") == ["a"]


def exchange(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        assert (comm.get_rank(), comm.get_world_size()) == (rank, 2)
        assert comm.is_main_process() == (rank == 0)
        comm.synchronize()
        assert comm.all_gather({"rank": rank}) == [{"rank": 0}, {"rank": 1}]
        assert comm.gather(rank * 10) == ([0, 10] if rank == 0 else [])
    finally:
        dist.destroy_process_group()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path)


@pytest.mark.slow
def test_two_processes_exchange_what_they_have(folder: str) -> None:
    mp.spawn(exchange, args=(folder,), nprocs=2)

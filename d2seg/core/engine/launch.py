"""Starting one function in several processes that work together."""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import resource_tracker
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from d2seg.core.runtime import comm

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT = timedelta(minutes=30)

_GRACE_SECONDS = 5.0
"""How long interrupted processes have to end by themselves."""


def launch(
    main_func: Callable[..., Any],
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple[Any, ...] = (),
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> None:
    """Call a function in every process of a job, or in this one if there is no other.

    With GPUs the processes talk by NCCL, each owning one GPU; without, by gloo, and they share the
    cores unless ``OMP_NUM_THREADS`` says how many threads each has.

    Args:
        main_func: Called with ``args``; must be importable from its module.
        num_gpus_per_machine: Processes on each machine.
        num_machines: How many machines there are.
        machine_rank: The number of this machine, from 0.
        dist_url: Where the processes meet, such as ``tcp://host:port``; ``auto`` or None on one
            machine finds a free port.
        args: Arguments of the function.
        timeout: How long processes wait for each other.

    Raises:
        ValueError: Several machines without an address.
    """
    world_size = num_machines * num_gpus_per_machine
    if world_size <= 1:
        main_func(*args)
        return
    if dist_url in (None, "auto"):
        if num_machines > 1:
            raise ValueError(
                "dist_url 'auto' is for one machine; give tcp://host:port for several."
            )
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    processes = None
    try:
        with _interrupts_held_back():  # Ctrl-C may come as soon as it ends
            processes = mp.start_processes(
                _worker,
                nprocs=num_gpus_per_machine,
                args=(
                    main_func,
                    world_size,
                    num_gpus_per_machine,
                    machine_rank,
                    dist_url,
                    args,
                    timeout,
                ),
                join=False,
                daemon=False,
            )
        while not processes.join():
            pass
    except KeyboardInterrupt:
        if processes is not None:
            _end_processes(processes.processes)
        raise


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait: here for the block, in processes started in it for `_worker`.

    A process that is interrupted while it imports its modules would print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # the first process starts it, which lets Ctrl-C through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_processes(processes: Sequence[Any]) -> None:
    """Wait a moment for interrupted processes, then end them."""
    for end in (lambda process: None, lambda process: process.terminate(), lambda p: p.kill()):
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in processes:
            end(process)
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
        if not any(process.is_alive() for process in processes):
            return


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _worker(
    local_rank: int,
    main_func: Callable[..., Any],
    world_size: int,
    num_gpus_per_machine: int,
    machine_rank: int,
    dist_url: str,
    args: tuple[Any, ...],
    timeout: timedelta,
) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    has_gpu = torch.cuda.is_available()
    if has_gpu and num_gpus_per_machine > torch.cuda.device_count():
        raise ValueError(
            f"{num_gpus_per_machine} GPUs are asked for, but this machine has "
            f"{torch.cuda.device_count()}."
        )
    dist.init_process_group(
        backend="nccl" if has_gpu else "gloo",
        init_method=dist_url,
        world_size=world_size,
        rank=machine_rank * num_gpus_per_machine + local_rank,
        timeout=timeout,
    )
    if not has_gpu and "OMP_NUM_THREADS" not in os.environ:
        # Otherwise every process would take all cores.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // num_gpus_per_machine))
    try:
        # Not before: torch's meeting of the processes answers Ctrl-C with a stack trace.
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        comm.create_local_process_group(num_gpus_per_machine)
        if has_gpu:
            torch.cuda.set_device(local_rank)
        comm.synchronize()
        main_func(*args)
        comm.synchronize()
    finally:
        comm.destroy_process_groups()

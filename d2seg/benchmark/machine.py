"""What figures depend on: the machine, its libraries and the threads."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from d2seg import __version__
from d2seg.framework import FRAMEWORK


def machine_facts(device: str | torch.device = "cpu") -> dict[str, Any]:
    """Return what belongs beside every figure, as JSON can hold it.

    Args:
        device: Where the models run.
    """
    facts = {
        "cpu": _cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": _usable_cores(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "d2seg": __version__,
        "framework": FRAMEWORK,
    }
    if torch.device(device).type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(torch.device(device))
    return facts


@contextmanager
def limit_threads(number: int | None) -> Iterator[None]:
    """Let torch use so many threads inside the block; None changes nothing.

    Raises:
        ValueError: ``number`` is below 1.
    """
    if number is not None and number < 1:
        raise ValueError(f"The number of threads must be at least 1, got {number}.")
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _usable_cores() -> int:
    """Return how many logical cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name; Python only knows its architecture on Linux."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()

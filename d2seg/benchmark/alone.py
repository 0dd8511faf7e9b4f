"""One contestant in a process of its own: how long it takes to load, and how much memory it needs.

``python -m d2seg.benchmark.alone ENTRY.json FOLDER THREADS`` is what that process runs.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from d2seg.benchmark.contestants import Entry, import_runtime, open_entry
from d2seg.benchmark.subject import read_images_of

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MIB = 2**20

PROCESS, GPU = "the process", "the GPU"


class Alone(NamedTuple):
    """What a contestant costs by itself.

    Attributes:
        load_s: Seconds from its files to being ready, libraries imported.
        loaded_mib: Memory then, MiB; of a process weights and libraries, of GPUs what torch has
            allocated there.
        working_mib: How much more it needs at most while it predicts, MiB.
        memory_of: `PROCESS`, or `GPU` for what computes there.
    """

    load_s: float
    loaded_mib: float
    working_mib: float
    memory_of: str


class _Gauge(NamedTuple):
    """What measures a kind of memory: now, and the highest since it was reset."""

    memory_of: str
    mib: Callable[[], float]
    highest_mib: Callable[[], float]
    reset: Callable[[], object]


def measure_alone(entry: Entry, folder: Path, threads: int) -> Alone:
    """Start a process, load a contestant there, and let it predict all images once.

    Args:
        entry: The contestant.
        folder: Of the subject.
        threads: Of torch.

    Raises:
        RuntimeError: The process failed; its last words are in the message.
    """
    command = [sys.executable, "-m", __name__, json.dumps(entry), str(folder), str(threads)]
    # The process finds this package also where it is not installed.
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise RuntimeError(f"'{entry.name}' failed in a process of its own: {last}")
    return Alone(*json.loads(done.stdout.splitlines()[-1]))


def can_measure_memory() -> bool:
    """Tell whether this system resets the highest memory of a process, as Linux does."""
    return _CLEAR.exists() and _STATUS.exists()


def _memory_mib(key: str) -> float:
    """Return one line of the process's status, such as VmRSS or VmHWM, in MiB."""
    for line in _STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024 / _MIB
    raise RuntimeError(f"{_STATUS} has no {key}.")


def _on_gpus_mib(count: Callable[[int], int]) -> float:
    return sum(count(index) for index in range(torch.cuda.device_count())) / _MIB


def _reset_gpus() -> None:
    for index in range(torch.cuda.device_count()):
        torch.cuda.reset_peak_memory_stats(index)


_PROCESS_GAUGE = _Gauge(
    PROCESS,
    lambda: _memory_mib("VmRSS"),
    lambda: _memory_mib("VmHWM"),
    lambda: _CLEAR.write_text("5"),  # makes VmHWM begin anew
)
_GPU_GAUGE = _Gauge(
    GPU,
    lambda: _on_gpus_mib(torch.cuda.memory_allocated),
    lambda: _on_gpus_mib(torch.cuda.max_memory_allocated),
    _reset_gpus,
)


def _run(entry: Entry, folder: Path, threads: int) -> Alone:
    torch.set_num_threads(threads)
    images = read_images_of(folder)
    import_runtime(entry)
    start = time.perf_counter()
    predict = open_entry(entry)
    load_s = time.perf_counter() - start
    on_gpu = torch.cuda.is_initialized() and _GPU_GAUGE.mib() > 0
    if not on_gpu and not can_measure_memory():
        return Alone(load_s, float("nan"), float("nan"), PROCESS)
    gauge = _GPU_GAUGE if on_gpu else _PROCESS_GAUGE
    loaded = gauge.mib()
    gauge.reset()
    for image in images:
        predict(image)
    return Alone(load_s, loaded, gauge.highest_mib() - loaded, gauge.memory_of)


if __name__ == "__main__":
    name, kind, config_file, overrides = json.loads(sys.argv[1])
    entry = Entry(name, kind, config_file, tuple(overrides))
    print(json.dumps(_run(entry, Path(sys.argv[2]), int(sys.argv[3]))))

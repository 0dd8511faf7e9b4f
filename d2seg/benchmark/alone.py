"""One contestant in a process of its own: how long it takes to load, and how much memory it needs.

``python -m d2seg.benchmark.alone ENTRY.json FOLDER THREADS`` is what that process runs.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch

from d2seg.benchmark.contestants import Entry, open_entry
from d2seg.benchmark.subject import read_images_of

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MIB = 2**20


class Alone(NamedTuple):
    """What a contestant costs by itself.

    Attributes:
        load_s: Seconds from its files to being ready, libraries imported.
        loaded_mib: Memory of the process then, MiB: weights and libraries.
        working_mib: How much more it needs at most while it predicts, MiB.
    """

    load_s: float
    loaded_mib: float
    working_mib: float


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
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
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


def _run(entry: Entry, folder: Path, threads: int) -> Alone:
    torch.set_num_threads(threads)
    images = read_images_of(folder)
    start = time.perf_counter()
    predict = open_entry(entry)
    load_s = time.perf_counter() - start
    if not can_measure_memory():
        return Alone(load_s, float("nan"), float("nan"))
    loaded = _memory_mib("VmRSS")
    _CLEAR.write_text("5")  # makes VmHWM begin anew
    for image in images:
        predict(image)
    return Alone(load_s, loaded, _memory_mib("VmHWM") - loaded)


if __name__ == "__main__":
    name, kind, config_file, overrides = json.loads(sys.argv[1])
    entry = Entry(name, kind, config_file, tuple(overrides))
    print(json.dumps(_run(entry, Path(sys.argv[2]), int(sys.argv[3]))))

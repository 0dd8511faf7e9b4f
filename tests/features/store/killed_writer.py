"""Write the same images again and again until SIGKILL comes; started by test_killed.py.

Argument: the folder; FORMAT/END is made in it for every format and end. An end is the number of a
call (``fsync 3``: when it comes, nothing of it done) or seconds from outside (``after 0.1``).
"""

import os
import signal
import sys
import time
from itertools import count
from pathlib import Path

import pyarrow.parquet  # noqa: F401  (here, so that not each child imports it)
import torch
import zarr  # noqa: F401

from d2seg.features import FeatureStore, open_store
from d2seg.features.store import FORMATS, parquet_store

NAMES = [f"image{index}" for index in range(8)]
ENDS = ["fsync 1", "fsync 8", "replace 1", "replace 2", "replace 4", "after 0.05"]
SETTLED = 4


def write(store: FeatureStore, index: int, value: int) -> None:
    """Write an image whose every number is ``value``."""
    tensors = {
        "instances.boxes": torch.full((index, 4), float(value)),
        "box_head": torch.full((index, 500), float(value)),
    }
    description = {
        "image": {"original_size_hw": [100, 200], "network_size_hw": [100, 200]},
        "tensors": {name: {"rows": "objects"} for name in tensors},
        "value": value,
    }
    store.write(NAMES[index], tensors, description)


def write_until_killed(folder: Path, format: str, end: str, settled: int) -> None:
    parquet_store.IMAGES_PER_PART = 3
    with open_store(folder, format) as store:
        for index in range(SETTLED):
            write(store, index, 0)
        store.flush()
        os.write(settled, b"!")
        kill_at_call(*end.split())
        for value in count(1):
            for index in range(len(NAMES)):
                write(store, index, value)


def kill_at_call(name: str, number: str) -> None:
    if name == "after":
        return
    owner = os if name == "fsync" else Path
    original, calls = getattr(owner, name), count(1)

    def call(*args: object) -> object:
        if next(calls) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args)

    setattr(owner, name, call)


def run_child(folder: Path, format: str, end: str) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        write_until_killed(folder, format, end, writer)
        os._exit(1)
    os.close(writer)
    assert os.read(reader, 1), "The child ended before it was killed."
    if end.startswith("after"):
        time.sleep(float(end.split()[1]))
        os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


if __name__ == "__main__":
    for format in FORMATS:
        for end in ENDS:
            run_child(Path(sys.argv[1]) / format / end, format, end)

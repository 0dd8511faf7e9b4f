"""Several processes that one call starts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from d2seg.core.engine import launch
from d2seg.core.runtime import comm
from tests.conftest import ROOT


def work(folder: str) -> None:
    """Run in each process: add up the ranks, agree on a seed."""
    total = comm.reduce_dict({"rank": torch.tensor(float(comm.get_rank() + 1))}, average=False)
    seeds = comm.all_gather(comm.shared_random_seed())
    assert seeds[0] == seeds[1]
    assert (comm.get_local_rank(), comm.get_local_size()) == (comm.get_rank(), 2)
    if comm.is_main_process():
        (Path(folder) / "total").write_text(str(total["rank"].item()))


def test_one_process_needs_no_other(tmp_path: Path) -> None:
    called = []
    launch(called.append, 1, args=("here",))
    assert called == ["here"]
    with pytest.raises(ValueError, match="'auto' is for one machine"):
        launch(called.append, 1, num_machines=2, dist_url="auto")


@pytest.mark.slow
def test_two_processes_work_together(tmp_path: Path) -> None:
    launch(work, 2, args=(str(tmp_path),))
    assert (tmp_path / "total").read_text() == "3.0"


INTERRUPTED = """
import time
from d2seg.core.engine import launch
if __name__ == "__main__":
    print("begin", flush=True)
    try:
        launch(time.sleep, 2, args=(60,))
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.slow
def test_processes_that_are_just_starting_end_silently(tmp_path: Path) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    started = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches all processes of a terminal's foreground
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "begin\n"
    time.sleep(0.5)
    os.killpg(started.pid, signal.SIGINT)
    output, errors = started.communicate(timeout=60)
    assert (output, errors) == ("interrupted\n", "")

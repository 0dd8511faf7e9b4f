"""One thread per process, the same seeds for every test, and the figures that tests record."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; sub-processes inherit it

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, for which no process then waits at the end."""
    items.sort(key=lambda item: "test_overfit" not in item.nodeid)


def pytest_runtest_setup() -> None:
    """Let no test depend on chance, or on the tests before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def run_python() -> RunPython:
    """Return a function that runs Python with the given arguments in a process of its own.

    Keyword arguments are environment variables; the checkout is importable, and so is what
    ``PYTHONPATH`` names, before it.
    """

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("D2SEG_")}
        path = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(ROOT)]))
        return subprocess.run(
            [sys.executable, *arguments],
            env={**inherited, **environment, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests gave to pytest's ``record_property``: the measured parity."""
    recorded = {
        report.nodeid: "; ".join(f"{name}: {value}" for name, value in report.user_properties)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call" and report.user_properties
    }
    if recorded:
        terminalreporter.section("recorded figures")
        for test, figures in sorted(recorded.items()):
            terminalreporter.write_line(f"{test}\n    {figures}")

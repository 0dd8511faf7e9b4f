"""The desktop twin of the last Android runtime: torch 2.1.0 in an environment of its own."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

VERSION = "2.1.0"
PYTHON_VARIABLE = "D2SEG_TWIN_PYTHON"
"""Names a Python that has torch 2.1.0 already."""
FOLDER_VARIABLE = "D2SEG_TWIN_FOLDER"
"""Names a folder to keep the environment in; by default it is in pytest's cache."""
PYTHONS = ("python3.11", "python3.10", "python3.9", "python3.8")
"""Those that torch 2.1.0 has wheels for."""
INSTALL_SECONDS = 1200

Job = tuple[Path, Sequence[Tensor]]


def find_twin(cache_folder: Path) -> Path:
    """Return the twin's Python, making its environment if need be; skip where it cannot be had.

    Args:
        cache_folder: Where to keep the environment unless a variable names a folder.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    if named:
        return Path(named)
    folder = Path(os.environ.get(FOLDER_VARIABLE) or cache_folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # processes of pytest-xdist wait for the first
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = folder / f"torch-{VERSION}-installed"
        if not complete.exists():
            _install(folder / "environment")
            complete.touch()
    return folder / "environment" / "bin" / "python"


def run_in_twin(python: Path, jobs: Sequence[Job], folder: Path) -> dict[str, Any]:
    """Run each file on its images in the twin.

    Returns:
        ``torch``: its version; ``loaded``: modules of torchvision and d2seg that it had loaded;
        ``results``: for each job a list of outputs, or the text of an error.
    """
    torch.save([(os.fspath(path), list(images)) for path, images in jobs], folder / "jobs.pt")
    runner = Path(__file__).with_name("twin_runner.py")
    done = _run(python, "-W", "ignore", runner, folder / "jobs.pt", folder / "results.pt")
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = torch.load(folder / "results.pt")
    return results


def _install(environment: Path) -> None:
    base = next(filter(None, map(shutil.which, PYTHONS)), None)
    if base is None:
        pytest.skip(f"torch {VERSION} needs one of {', '.join(PYTHONS)}; none is on PATH")
    shutil.rmtree(environment, ignore_errors=True)
    made = _run(base, "-m", "venv", environment)
    assert made.returncode == 0, made.stderr
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check"]
    done = _run(*pip, f"torch=={VERSION}", "numpy<2")
    if done.returncode:
        shutil.rmtree(environment, ignore_errors=True)
        lines = done.stderr.strip().splitlines() or ["pip failed"]
        pytest.skip(f"torch {VERSION} cannot be installed here: {lines[-1]}")


def _run(*command: Any) -> "subprocess.CompletedProcess[str]":
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    arguments = [os.fspath(part) for part in command]
    return subprocess.run(
        arguments,
        env=inherited,
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_SECONDS,
    )

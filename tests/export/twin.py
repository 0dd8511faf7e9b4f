"""Other versions of torch in environments of their own.

The twin is torch 2.1.0, as the last runtime for Android; the newest is that of the package index.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

VERSION = "2.1.0"
ROOT = Path(__file__).resolve().parents[2]
INSTALL_SECONDS = 1200

Job = tuple[Path, Sequence[Tensor]]


@dataclass(frozen=True)
class Environment:
    """A virtual environment, made when it is first needed.

    Attributes:
        name: Of its folder in pytest's cache.
        variable: ``<variable>_PYTHON`` in the environment of the tests names a Python to take
            instead, ``<variable>_FOLDER`` another folder to keep this one in.
        requirements: What pip installs.
        constraints: Versions that pip keeps to.
        newest_python: Minor version of the last Python 3 that it can have; None for any.
    """

    name: str
    variable: str
    requirements: Sequence[str]
    constraints: Sequence[str] = ()
    newest_python: int | None = None

    def find(self, config: pytest.Config) -> Path:
        """Return its Python, making the environment if need be; skip where it cannot be had."""
        named = os.environ.get(f"{self.variable}_PYTHON")
        if named:
            return Path(named)
        chosen = os.environ.get(f"{self.variable}_FOLDER")
        folder = Path(chosen) if chosen else Path(config.cache.mkdir(self.name))  # type: ignore[union-attr]
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:  # processes of pytest-xdist wait for the first
            fcntl.flock(lock, fcntl.LOCK_EX)
            complete = folder / f"{self.name}-installed"
            if not complete.exists():
                self._install(folder)
                complete.touch()
        return folder / "environment" / "bin" / "python"

    def _install(self, folder: Path) -> None:
        environment = folder / "environment"
        shutil.rmtree(environment, ignore_errors=True)
        base = self._base_python()
        made = _run(base, "-m", "venv", environment)
        if made.returncode:
            pytest.skip(f"{base} cannot make an environment for {self.name}: {made.stderr.strip()}")
        (folder / "constraints.txt").write_text("\n".join(self.constraints))
        pip = [
            environment / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
        ]
        done = _run(*pip, "-c", folder / "constraints.txt", *self.requirements)
        if done.returncode:
            shutil.rmtree(environment, ignore_errors=True)
            lines = done.stderr.strip().splitlines() or ["pip failed"]
            pytest.skip(f"{self.name} cannot be installed here: {lines[-1]}")

    def _base_python(self) -> str:
        newest = self.newest_python
        if newest is None or sys.version_info[:2] <= (3, newest):
            return sys.executable
        names = [f"python3.{minor}" for minor in range(newest, 7, -1)]
        base = next(filter(None, map(shutil.which, names)), None)
        if base is None:
            pytest.skip(f"{self.name} needs one of {', '.join(names)}; none is on PATH")
        return base


TWIN = Environment(
    f"torch-{VERSION}", "D2SEG_TWIN", [f"torch=={VERSION}", "numpy<2"], newest_python=11
)


def newest_torch() -> Environment:
    """Return an environment with the newest torch and all else as it is tested."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    others = [line for line in pins if not line.startswith(("torch==", "torchvision=="))]
    needed = [line for line in requires("d2seg") or [] if "extra ==" not in line]
    return Environment("newest-torch", "D2SEG_NEWEST", [*needed, "torch>=2.14"], others)


def write_elsewhere(python: Path, jobs: Sequence[Sequence[str]]) -> None:
    """Run ``d2seg`` under another Python, once for each list of arguments."""
    code = "import json, sys; from d2seg.cli import main\nfor job in json.loads(sys.argv[1]):\n"
    code += "    assert main(job) == 0, job"
    done = _run(python, "-W", "ignore", "-c", code, json.dumps(jobs), PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stdout + done.stderr


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


def _run(*command: Any, **variables: str) -> "subprocess.CompletedProcess[str]":
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    arguments = [os.fspath(part) for part in command]
    return subprocess.run(
        arguments,
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_SECONDS,
    )

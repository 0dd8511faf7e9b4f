"""What all tasks of ``d2seg benchmark`` do with its options."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d2seg.benchmark import Rounds

TASKS = ("features", "predict", "stages", "growth", "paste", "train", "data")

_WITH_MODEL = tuple(task for task in TASKS if task != "paste")
_COUNTS_FOR = {
    "config_file": _WITH_MODEL,
    "input": _WITH_MODEL,
    "opts": _WITH_MODEL,
    "stages": ("features",),
    "batch_size": ("features", "data"),
    "plot": tuple(task for task in TASKS if task != "stages"),
    "also": ("predict",),
    "size": TASKS[1:],
    "objects": TASKS[1:],
    "keep": ("predict", "train"),
    "no_memory": ("predict", "train"),
    "images": ("data",),
    "sides": ("paste",),
}
"""For which tasks an option counts; those that are not named here count for all."""


def refuse_ignored(args: argparse.Namespace) -> None:
    """Refuse options that the task would ignore.

    Raises:
        ValueError: Names the option, and the tasks that it is for.
    """
    for name, tasks in _COUNTS_FOR.items():
        if args.task in tasks or getattr(args, name) in (None, [], False):
            continue
        option = "Overrides of the config" if name == "opts" else f"--{name.replace('_', '-')}"
        verb = "do" if name == "opts" else "does"
        raise ValueError(
            f"{option} {verb} not count for the task {args.task}, only for {', '.join(tasks)}; "
            "leave it out."
        )


def require_places(args: argparse.Namespace) -> None:
    """Find out before anything is measured whether the results can be written.

    Raises:
        OSError: Nothing can be written there.
    """
    from d2seg.core.runtime.files import require_writable

    for path in filter(None, (args.json, args.plot)):
        if path.is_dir():
            raise IsADirectoryError(f"'{path}' is a folder; name a file.")
        require_writable(path.parent)


def rounds_of(args: argparse.Namespace) -> "Rounds":
    """Return how often everything is timed.

    Raises:
        ValueError: A number is out of range.
    """
    from d2seg import benchmark

    rounds = benchmark.Rounds(args.rounds, args.seconds, args.warmup)
    benchmark.check_rounds(rounds)
    return rounds


def save(path: Path | None, document: Mapping[str, Any]) -> None:
    """Write what came out as JSON, if a file is named, and say so."""
    from d2seg import benchmark

    if path is not None:
        benchmark.save_report(path, document)
        print(f"{path}: all of this, and the time of every round")

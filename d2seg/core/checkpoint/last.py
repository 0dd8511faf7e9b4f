"""Which checkpoint of a folder is the last one, and what to do if it is of no use."""

import os
import re
from pathlib import Path

_OF_TRAINING = re.compile(r"model_(\d+|final)\.pth")
"""Names of files that a training can go on from."""


def find_last_checkpoint(folder: str | os.PathLike[str]) -> Path:
    """Return the file of a folder that its ``last_checkpoint`` names.

    Args:
        folder: Holds the file ``last_checkpoint``.

    Raises:
        FileNotFoundError: ``last_checkpoint`` is empty, or there is no file of the name in it.
    """
    tag = Path(folder) / "last_checkpoint"
    name = tag.read_text(encoding="utf-8").strip()
    if not name:
        raise FileNotFoundError(
            f"'{tag}' is empty, but must hold the name of the checkpoint to go on from. "
            f"{_advice(tag, name)}"
        )
    if not (tag.parent / name).is_file():
        raise FileNotFoundError(
            f"'{tag}' names '{name}' as the checkpoint to go on from, but there is no such file. "
            f"{_advice(tag, name)}"
        )
    return tag.parent / name


def explain_last_checkpoint(path: Path) -> str:
    """Say in a sentence why this checkpoint was read, and which other one could be.

    Args:
        path: What `find_last_checkpoint` returned.
    """
    tag = path.parent / "last_checkpoint"
    return f"'{tag}' names it as the checkpoint to go on from. {_advice(tag, path.name)}"


def _advice(tag: Path, name: str) -> str:
    others = [
        path
        for path in tag.parent.iterdir()
        if _OF_TRAINING.fullmatch(path.name) and path.name != name
    ]
    if not others:
        return "The folder has no other one; start again without --resume."
    newest = max(others, key=lambda path: path.stat().st_mtime)
    return (
        f"The newest other one is '{newest.name}': write this name into '{tag}' to go on from it, "
        "or start again without --resume."
    )

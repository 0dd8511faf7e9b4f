"""Folders that appear whole or not at all."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from d2seg.core.runtime.files import lock_until_closed

PREFIX, SUFFIX = ".unfinished-", ".folder"
_UNFINISHED = re.compile(rf"{re.escape(PREFIX)}[a-z0-9_]{{8}}{re.escape(SUFFIX)}")
_LOCK = "lock"


@contextmanager
def replace_folder_when_complete(target: Path, workplace: Path) -> Iterator[Path]:
    """Yield the path of a new folder; rename it to ``target`` when the block succeeds.

    When the block raises, an existing ``target`` stays as it was. The content is on the disk before
    the folder has its name. A program that is killed while it replaces an existing folder may leave
    no ``target``, but never a mixture.

    Args:
        target: The folder to make; its parent exists.
        workplace: An existing folder of the same file system, where work in progress is kept, in a
            hidden folder that :func:`remove_unfinished_folders` knows.

    Yields:
        A path where the block makes a folder.
    """
    work = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=SUFFIX, dir=workplace))
    try:
        with (work / _LOCK).open("wb") as opened:
            lock_until_closed(opened)
            yield work / "new"
            _flush(work / "new")
            _replace(work / "new", target, aside=work / "old")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def remove_unfinished_folders(workplace: Path) -> None:
    """Remove what killed programs left; what a running program works on stays."""
    for work in sorted(workplace.glob(f"{PREFIX}*")):
        if _UNFINISHED.fullmatch(work.name) and _is_abandoned(work):
            shutil.rmtree(work, ignore_errors=True)


def _is_abandoned(work: Path) -> bool:
    try:
        with (work / _LOCK).open("rb") as opened:
            return lock_until_closed(opened)
    except FileNotFoundError:  # killed before, or being removed
        return True
    except OSError:
        return False


def _replace(new: Path, target: Path, aside: Path) -> None:
    with suppress(FileNotFoundError):
        target.rename(aside)
    try:
        new.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise


def _flush(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            with Path(place, name).open("rb+") as opened:
                os.fsync(opened.fileno())

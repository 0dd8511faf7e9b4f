"""Work in progress, kept where no reader of a store comes across it."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from d2seg.core.runtime.files import lock_until_closed

PREFIX = ".unfinished-"
_UNFINISHED = re.compile(rf"{re.escape(PREFIX)}[a-z0-9_]{{8}}")
_LOCK = "lock"


@contextmanager
def move_when_complete(target: Path, workplace: Path) -> Iterator[Path]:
    """Yield a path in a hidden folder; move what is made there to ``target`` on success.

    ``replace_when_complete`` makes files alone, and beside the target, where patterns such as
    DuckDB's ``*.parquet`` find what a killed program left of them.

    When the block raises, an existing ``target`` stays as it was. The content is on the disk before
    it has its name. A program that is killed while it replaces a folder may leave no ``target``,
    but never a mixture.

    Args:
        target: The file or folder to make; its parent exists.
        workplace: An existing folder of the same file system. The hidden folder is made there;
            :func:`remove_unfinished_work` knows it.

    Yields:
        A path where the block makes a file or a folder.
    """
    work = Path(tempfile.mkdtemp(prefix=PREFIX, dir=workplace))
    try:
        with (work / _LOCK).open("wb") as opened:
            lock_until_closed(opened)
            yield work / "new"
            _flush(work / "new")
            _replace(work / "new", target, aside=work / "old")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def remove_unfinished_work(workplace: Path) -> None:
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
    if target.is_dir():  # a rename replaces files alone
        target.rename(aside)
    try:
        new.replace(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise


def _flush(made: Path) -> None:
    files = [made] if made.is_file() else [path for path in made.rglob("*") if path.is_file()]
    for path in files:
        with path.open("rb+") as opened:
            os.fsync(opened.fileno())

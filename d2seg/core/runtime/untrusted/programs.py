"""Archives of TorchScript: unpacked only to a size, and searched for what reaches out of them."""

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from d2seg.core.runtime.untrusted.archives import (
    ZIP_START,
    require_different_names,
    require_one_directory,
)
from d2seg.core.runtime.untrusted.parts import OversizedError, require_plausible
from d2seg.core.runtime.untrusted.unsafe import VARIABLE, is_unsafe_allowed, warn_of_code

_MOST_TIMES_ITS_SIZE = 100
"""Code is packed to a tenth; a bomb to a thousandth."""

_DAMAGE: tuple[type[Exception], ...] = (
    *(NotImplementedError, RuntimeError, EOFError, OSError, UnicodeError),
    *(struct.error, zlib.error),
)
"""What zipfile says of strange versions and methods, encryption, parts outside of the file, ..."""

_CALLS = re.compile(
    rb"\b(save|from_file|read_file|write_file|load_tensor|rpc_\w+)(?:\s|\\|#[^\n]*\n)*\("
)
_OPERATORS = re.compile(
    rb"(aten::save|aten::from_file|image::(?:read|write)_file|debugprims::load_tensor|prim::rpc_\w+)"
)
"""What reads or writes files, or calls other machines: in code, and in instructions."""


class UnreadableFileError(ValueError):
    """A file is not what its reader can look into; the message is one sentence that says why."""


@contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive that unpacks to no more than a multiple of its size.

    Raises:
        zipfile.BadZipFile: It is none, or damaged.
        OversizedError: It unpacks to more.
    """
    with open(path, "rb") as file:
        # Torch's other formats may have an archive behind them, which zipfile would find.
        if file.read(4) != ZIP_START:
            raise zipfile.BadZipFile("the file does not begin as an archive")
        length = require_one_directory(file)
        try:
            with zipfile.ZipFile(file) as archive:
                require_different_names(archive)
                total = sum(entry.file_size for entry in archive.infolist())
                require_plausible(length, total, _MOST_TIMES_ITS_SIZE)
                yield archive
        except _DAMAGE as error:
            raise zipfile.BadZipFile(str(error)) from error


def require_whole(archive: zipfile.ZipFile, path: str) -> None:
    """Refuse an archive with a part that is not what was once written; nobody else compares sums.

    Raises:
        UnreadableFileError: Says which part.
    """
    damaged = archive.testzip()
    if damaged is not None:
        raise UnreadableFileError(
            f"'{path}' is damaged: '{damaged}' in it fails its checksum; copy it again."
        )


def why_unreadable(path: str | os.PathLike[str]) -> str:
    """Say in a sentence what a file is that should be an archive and cannot be opened as one."""
    name = os.fspath(path)
    with open(path, "rb") as opened:
        head = opened.read(8)
    if not head:
        return f"'{name}' is empty."
    if not head.startswith(ZIP_START):
        return (
            f"'{name}' is neither a .ptl nor a .pte: it is no zip archive, which every TorchScript "
            "file is, and does not begin as a file of ExecuTorch."
        )
    if _has_end(path):
        return f"'{name}' is damaged: parts of it cannot be read; copy it again."
    return f"'{name}' is truncated: it begins like a .ptl and its end is missing; copy it again."


def _has_end(path: str | os.PathLike[str]) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # it has one, which is damaged
        return True


def require_pure_program(path: str | os.PathLike[str]) -> None:
    """Refuse a damaged program, and one that would read or write files.

    Loading it can already run parts of it, and finds no damage within the weights.

    Args:
        path: A file of TorchScript or of its lite interpreter.

    Raises:
        UnreadableFileError: It is damaged, or no program.
        ValueError: It unpacks to too much, or reaches out and nobody allowed it.
    """
    name = os.fspath(path)
    try:
        with open_archive(path) as archive:
            require_whole(archive, name)
            reach = _find_reach(archive)
    except OversizedError as error:
        raise ValueError(f"'{name}' cannot be loaded: it {error}.") from error
    except zipfile.BadZipFile as error:
        raise UnreadableFileError(why_unreadable(path)) from error
    if not reach:
        return
    if is_unsafe_allowed():
        warn_of_code(name, reach)
        return
    raise ValueError(
        f"'{name}' cannot be loaded: it calls '{reach}', and a program that reads or writes files "
        f"is not run ({VARIABLE}=1 would run it)."
    )


def _find_reach(archive: zipfile.ZipFile) -> str:
    """Return the first operator that reaches out of a program; empty if there is none."""
    for part in archive.namelist():
        pattern = {".py": _CALLS, ".pkl": _OPERATORS}.get(os.path.splitext(part)[1].lower())
        found = pattern.search(archive.read(part)) if pattern else None
        if found:
            return found[1].decode()
    return ""

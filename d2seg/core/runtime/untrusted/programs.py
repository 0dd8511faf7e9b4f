"""Archives of TorchScript: unpacked only to a size, and searched for what reaches out of them."""

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from d2seg.core.runtime.untrusted.parts import OversizedError, require_plausible
from d2seg.core.runtime.untrusted.unsafe import VARIABLE, is_unsafe_allowed, warn_of_code

_ZIP_START = b"PK\x03\x04"
_MOST_TIMES_ITS_SIZE = 100
"""Code is packed to a tenth; a bomb to a thousandth."""

_DAMAGE: tuple[type[Exception], ...] = (
    *(NotImplementedError, RuntimeError, EOFError, OSError, UnicodeError),
    *(struct.error, zlib.error),
)
"""What zipfile says of strange versions and methods, encryption, parts outside of the file, ..."""

_CALLS = re.compile(rb"\b(save|from_file|read_file|write_file|load_tensor|rpc_\w+)\s*\(")
_OPERATORS = re.compile(
    rb"(aten::save|aten::from_file|image::(?:read|write)_file|debugprims::load_tensor|prim::rpc_\w+)"
)
"""What reads or writes files, or calls other machines: in code, and in instructions."""


@contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive that unpacks to no more than a multiple of its size.

    Raises:
        zipfile.BadZipFile: It is none, or damaged.
        OversizedError: It unpacks to more.
    """
    with open(path, "rb") as file:
        # Torch's other formats may have an archive behind them, which zipfile would find.
        if file.read(4) != _ZIP_START:
            raise zipfile.BadZipFile("the file does not begin as an archive")
        length = file.seek(0, os.SEEK_END)
        try:
            with zipfile.ZipFile(file) as archive:
                total = sum(entry.file_size for entry in archive.infolist())
                require_plausible(length, total, _MOST_TIMES_ITS_SIZE)
                yield archive
        except _DAMAGE as error:
            raise zipfile.BadZipFile(str(error)) from error


def require_pure_program(path: str | os.PathLike[str]) -> None:
    """Refuse a program that would read or write files; loading it can already run parts of it.

    Args:
        path: A file of TorchScript or of its lite interpreter.

    Raises:
        ValueError: It is damaged, unpacks to too much, or reaches out and nobody allowed it.
    """
    name = os.fspath(path)
    try:
        with open_archive(path) as archive:
            reach = _find_reach(archive)
    except OversizedError as error:
        raise ValueError(f"'{name}' cannot be loaded: it {error}.") from error
    except zipfile.BadZipFile as error:
        raise ValueError(f"'{name}' cannot be loaded: it is damaged, or no program.") from error
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
        pattern = {".py": _CALLS, ".pkl": _OPERATORS}.get(os.path.splitext(part)[1])
        found = pattern.search(archive.read(part)) if pattern else None
        if found:
            return found[1].decode()
    return ""

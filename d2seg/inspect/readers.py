"""How files of each format are looked into; another format adds a reader of its own."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2seg.core.runtime.untrusted.programs import require_pure_program
from d2seg.export.description import ModelDescription, read_description
from d2seg.inspect.archive import UnreadableFileError, read_archive, why_not_a_zip
from d2seg.inspect.runtimes import Runtime
from d2seg.inspect.verdicts import find_obstacles

ZIP_MAGIC = b"PK\x03\x04"


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        format: ``ptl``, ``ts``, or what another reader reads.
        bytecode_version: Version of its instructions; None where the format has none.
        operators: Names with overloads, to the number of arguments; 0 where that is not known.
        classes: Classes of a runtime that it needs.
        stored: How many numbers it holds, by type.
        description: What d2seg wrote into it; None for a file of somebody else.
    """

    format: str
    bytecode_version: int | None
    operators: dict[str, int]
    classes: list[str]
    stored: dict[str, int]
    description: ModelDescription | None

    def find_obstacles(self, runtime: Runtime) -> list[str]:
        """Return a sentence for each reason why a runtime of torch cannot load the file."""
        return find_obstacles(self.bytecode_version, self.operators, self.classes, runtime)

    def load(self, path: Path) -> None:
        """Load the file as a user would, into the runtime of its format.

        Raises:
            RuntimeError: The runtime refuses it.
            ValueError: It would read or write files.
        """
        from d2seg.export.torchscript import load_lite

        require_pure_program(path)
        if self.format == "ptl":
            load_lite(path)
        else:
            _load_script(path)


class Reader:
    """Looks into files of one format.

    Args:
        recognises: Tells from the first eight bytes whether a file is of the format.
        read: Looks into it; raises UnreadableFileError with a sentence where it cannot.
    """

    def __init__(
        self, recognises: Callable[[bytes], bool], read: Callable[[Path], Contents]
    ) -> None:
        self.recognises = recognises
        self.read = read


def read_contents(path: str | os.PathLike[str]) -> Contents:
    """Look into a file of any format that there is a reader for.

    Raises:
        FileNotFoundError: There is no such file.
        UnreadableFileError: It is of no such format, truncated or damaged.
    """
    file = Path(path)
    if file.is_dir():
        raise UnreadableFileError(f"'{file}' is a folder; name a file in it.")
    if not file.is_file():
        raise FileNotFoundError(f"There is no file '{file}'.")
    with file.open("rb") as opened:
        head = opened.read(8)
    for reader in READERS:
        if reader.recognises(head):
            return reader.read(file)
    raise UnreadableFileError(why_not_a_zip(file))


def read_torchscript(path: Path) -> Contents:
    """Look into a ``.ptl``, or into a ``.ts`` of ``torch.jit.save``, which has no bytecode.

    Raises:
        UnreadableFileError: It is neither, or it is damaged.
    """
    found = read_archive(path)
    is_lite = found.bytecode_version is not None
    return Contents(
        "ptl" if is_lite else "ts",
        found.bytecode_version,
        found.operators if is_lite else _script_operators(path),
        found.classes,
        found.stored,
        _description(path),
    )


READERS = [Reader(lambda head: head.startswith(ZIP_MAGIC), read_torchscript)]
"""The formats; another one appends its reader, found by the first bytes of a file."""


def _description(path: Path) -> ModelDescription | None:
    try:
        return read_description(path)
    except ValueError:  # written by something else, or by hand
        return None


def _script_operators(path: Path) -> dict[str, int]:
    """List the operators of a script; that needs torch to load it."""
    import torch

    try:
        require_pure_program(path)
        return dict.fromkeys(sorted(torch.jit.export_opnames(_load_script(path))), 0)
    except (RuntimeError, ValueError):  # the reason is found when it is loaded for its own sake
        return {}


def _load_script(path: Path) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is dep", DeprecationWarning)
        return torch.jit.load(os.fspath(path), map_location="cpu")

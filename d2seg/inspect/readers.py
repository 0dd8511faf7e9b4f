"""How files of each format are looked into; another format adds a reader of its own."""

import os
from collections.abc import Callable
from pathlib import Path

from d2seg.core.runtime.untrusted.programs import (
    UnreadableFileError,
    require_pure_program,
    why_unreadable,
)
from d2seg.export.description import ModelDescription, read_description
from d2seg.inspect.archive import read_archive
from d2seg.inspect.contents import Contents, load_script
from d2seg.inspect.executorch import is_pte, read_pte
from d2seg.inspect.graphs import is_onnx, is_xml, read_onnx, read_xml

ZIP_MAGIC = b"PK\x03\x04"


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
    raise UnreadableFileError(why_unreadable(file))


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


READERS = [
    Reader(lambda head: head.startswith(ZIP_MAGIC), read_torchscript),
    Reader(is_pte, read_pte),
    Reader(is_xml, read_xml),
    Reader(is_onnx, read_onnx),
]
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
        return dict.fromkeys(sorted(torch.jit.export_opnames(load_script(path))), 0)
    except (RuntimeError, ValueError):  # the reason is found when it is loaded for its own sake
        return {}

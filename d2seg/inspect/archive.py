"""What is in a TorchScript archive, read without running or loading anything of it.

The instructions of such a file are pickles. They are read here with nothing in place of the objects
that they name, so that a file of any origin and of any torch can be looked at.
"""

import io
import os
import pickle
import zipfile
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from d2seg.core.runtime.untrusted.parts import OversizedError, Unfinished
from d2seg.core.runtime.untrusted.pickles import read_pickle
from d2seg.core.runtime.untrusted.programs import (
    UnreadableFileError,
    open_archive,
    require_whole,
    why_unreadable,
)

DTYPES = {
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "ShortStorage": "int16",
}


class ArchiveContents(NamedTuple):
    """What an archive says of itself.

    Attributes:
        bytecode_version: Version of the lite interpreter's instructions; None where it has none.
        operators: Name with overload, such as ``aten::add.Tensor``, to the number of arguments it
            is called with; empty without instructions.
        classes: Classes implemented by a runtime that it needs, such as those of XNNPACK.
        stored: How many numbers it holds, by type.
    """

    bytecode_version: int | None
    operators: dict[str, int]
    classes: list[str]
    stored: dict[str, int]


def read_archive(path: str | os.PathLike[str]) -> ArchiveContents:
    """Look into a file of ``torch.jit.save`` or of the lite interpreter.

    Raises:
        UnreadableFileError: It is no such file, it ends too early, a part of it is damaged, or it
            unpacks to far more than it is.
    """
    name = os.fspath(path)
    try:
        with open_archive(path) as archive:
            return _read_open(archive, name)
    except UnreadableFileError:
        raise
    except OversizedError as error:
        raise UnreadableFileError(f"'{name}' cannot be looked into: it {error}.") from error
    except zipfile.BadZipFile as error:
        raise UnreadableFileError(why_unreadable(path)) from error
    except (
        pickle.UnpicklingError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        raise UnreadableFileError(
            f"'{name}' is damaged: its instructions end too early."
        ) from error


def _read_open(archive: zipfile.ZipFile, path: str) -> ArchiveContents:
    names = {entry.partition("/")[2]: entry for entry in archive.namelist()}
    _require_torchscript(names, path)
    require_whole(archive, path)
    parts = {
        part: _Part(archive.read(names[part]))
        for part in ("data.pkl", "constants.pkl", "bytecode.pkl")
        if part in names
    }
    stored: Counter[str] = Counter()
    for part in ("data.pkl", "constants.pkl"):  # the instructions refer to the same numbers
        if part in parts:
            stored.update(parts[part].stored)
    classes = sorted(set().union(*(part.classes for part in parts.values())))
    version, *functions = parts["bytecode.pkl"].value if "bytecode.pkl" in parts else [None]
    if version is not None and type(version) is not int:
        raise pickle.UnpicklingError("the version of the instructions is no number")
    return ArchiveContents(version, _operators(functions), classes, dict(stored))


def _require_torchscript(names: dict[str, str], path: str) -> None:
    if any(name.startswith("code/") for name in names) and "data.pkl" in names:
        return
    if "data.pkl" in names:
        raise UnreadableFileError(
            f"'{path}' is a checkpoint of torch.save, which has weights but no program; export it "
            "with 'd2seg export'."
        )
    raise UnreadableFileError(f"'{path}' is a zip archive, but not one that torch wrote.")


def _operators(functions: list[Any]) -> dict[str, int]:
    """Collect ``(name, overload, arguments)`` from the tables of all functions."""
    found: dict[str, int] = {}
    for _, tables, *_ in functions:
        for name, overload, *count in dict(tables)["operators"]:
            full = f"{name}.{overload}" if overload else name
            found[full] = max(found.get(full, 0), count[0] if count else 0)
    return dict(sorted(found.items()))


class _Nothing(Unfinished):
    """Stands for an object of a class that does not matter here."""

    must_finish = False

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def finish(self, state: Any) -> "_Nothing":
        return self


class _AllNames(dict[str, Callable[..., Any]]):
    """Lets a pickle refer to anything, and takes every reference for the same.

    Attributes:
        classes: Classes of a runtime that it names, as ``xnnpack.Conv2dOpContext``.
    """

    PREFIX = "__torch__.torch.classes."

    def __init__(self) -> None:
        super().__init__()
        self.classes: set[str] = set()

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> Callable[..., Any]:
        if name.startswith(self.PREFIX):
            self.classes.add(name.removeprefix(self.PREFIX))
        return _Nothing


class _Part:
    """A pickle of an archive.

    Attributes:
        value: What it holds, with nothing in place of objects.
        classes: Classes of a runtime that it names.
        stored: How many numbers it refers to, by type.
    """

    def __init__(self, data: bytes) -> None:
        names = _AllNames()
        self._storages: dict[str, tuple[str, int]] = {}
        self.value = read_pickle(io.BytesIO(data), names, self._refer)
        self.classes = names.classes
        self.stored: Counter[str] = Counter()
        for kind, count in self._storages.values():
            self.stored[DTYPES.get(kind, kind)] += count

    def _refer(self, identity: Any) -> None:
        _, kind, key, _, count = identity
        self._storages[str(key)] = (kind.name.rpartition(".")[2], int(count))

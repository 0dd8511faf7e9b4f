"""What is in a TorchScript archive, read without running or loading anything of it.

The instructions of such a file are pickles. They are read here with classes that do nothing, so
that a file of any origin and of any torch can be looked at.
"""

import io
import os
import pickle
import zipfile
from collections import Counter
from typing import Any, NamedTuple

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


class UnreadableFileError(ValueError):
    """A file is not what its reader can look into; the message is one sentence that says why."""


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
        UnreadableFileError: It is no such file, it ends too early, or a part of it is damaged.
    """
    name = os.fspath(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_open(archive, name)
    except zipfile.BadZipFile as error:
        raise UnreadableFileError(why_not_a_zip(path)) from error
    except (
        pickle.UnpicklingError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise UnreadableFileError(
            f"'{name}' is damaged: its instructions end too early."
        ) from error


def why_not_a_zip(path: str | os.PathLike[str]) -> str:
    """Say in a sentence what a file is that should be an archive and is not."""
    name = os.fspath(path)
    with open(path, "rb") as opened:
        head = opened.read(8)
    if not head:
        return f"'{name}' is empty."
    if head.startswith(b"PK\x03\x04"):
        return (
            f"'{name}' is truncated: it begins like a .ptl and its end is missing; copy it again."
        )
    if head[4:8] == b"ET12":
        return f"'{name}' is a file of ExecuTorch (.pte), not a .ptl."
    return f"'{name}' is not a .ptl: it is no zip archive, which every TorchScript file is."


def _read_open(archive: zipfile.ZipFile, path: str) -> ArchiveContents:
    names = {entry.partition("/")[2]: entry for entry in archive.namelist()}
    _require_torchscript(names, path)
    damaged = archive.testzip()
    if damaged is not None:
        raise UnreadableFileError(f"'{path}' is damaged: '{damaged}' in it fails its checksum.")
    pickles = {
        part: _BlindUnpickler(archive.read(names[part]))
        for part in ("data.pkl", "constants.pkl", "bytecode.pkl")
        if part in names
    }
    loaded = {part: unpickler.load() for part, unpickler in pickles.items()}
    stored: Counter[str] = Counter()
    for part in ("data.pkl", "constants.pkl"):  # the instructions refer to the same numbers
        if part in pickles:
            stored.update(pickles[part].stored())
    classes = sorted(set().union(*(unpickler.classes for unpickler in pickles.values())))
    version, *functions = loaded.get("bytecode.pkl", [None])
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


class _Nothing:
    """Stands for whatever a pickle names, and takes everything that is done with it."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class _BlindUnpickler(pickle.Unpickler):
    """Reads the shape of a pickle; imports nothing and runs nothing that it names.

    Attributes:
        classes: Classes of a runtime that it names, as ``xnnpack.Conv2dOpContext``.
    """

    PREFIX = "__torch__.torch.classes."

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.classes: set[str] = set()
        self._storages: dict[str, tuple[str, int]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.".startswith(self.PREFIX):
            self.classes.add(f"{module}.{name}".removeprefix(self.PREFIX))
        return type(name, (_Nothing,), {})

    def persistent_load(self, pid: Any) -> Any:
        _, kind, key, _, count = pid
        self._storages[str(key)] = (kind.__name__, int(count))
        return None

    def stored(self) -> Counter[str]:
        """Count the numbers of each type that the pickle refers to."""
        counts: Counter[str] = Counter()
        for kind, count in self._storages.values():
            counts[DTYPES.get(kind, kind)] += count
        return counts

"""Reading files of ``torch.save``: checked from end to end, then given to torch.

``torch.load(weights_only=True)`` runs nothing, but believes sizes: it reserves memory for what a
file promises, unpacks what was packed, and reads behind the end of a storage.
"""

import argparse
import io
import mmap
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any

import numpy as np
import torch

from d2seg.core.runtime.untrusted.archives import (
    ZIP_START,
    require_different_names,
    require_one_directory,
)
from d2seg.core.runtime.untrusted.parts import OversizedError, RefusedError, amount
from d2seg.core.runtime.untrusted.pickles import read_pickle
from d2seg.core.runtime.untrusted.tensors import TORCH_NAMES, Storage, Storages

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
"""What a file of torch before 1.6 begins with."""
_RECONSTRUCT, _SCALAR = np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]


def load_torch(path: str | os.PathLike[str], *, mapped: bool = False) -> Any:
    """Return what a file of ``torch.save`` holds, its tensors on the CPU.

    Args:
        path: A local file.
        mapped: Leave tensors on the disk until they are used.

    Raises:
        RefusedError: It refers to something that is no tensor, number, text or container.
        OversizedError: It promises more than it holds.
        pickle.UnpicklingError: It is truncated, damaged, or no such file.
    """
    pickled, is_zip = check_torch(path)
    try:
        with _allowed(pickled), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_zip)
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # torch raises six types, as the place of the damage decides
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error


def check_torch(path: str | os.PathLike[str]) -> tuple[bytes, bool]:
    """Check a file of ``torch.save`` as `load_torch` does, and do not load it.

    Returns:
        Its pickle, and whether it is an archive, as of torch 1.6 or newer.
    """
    try:
        with open(path, "rb") as file:
            is_zip = file.read(4) == ZIP_START
            return _check_zip(file) if is_zip else _check_old(file), is_zip
    except (pickle.UnpicklingError, FileNotFoundError):
        raise
    except Exception as error:  # of archives and numbers that are damaged
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error


def _check_zip(file: IO[bytes]) -> bytes:
    """Check an archive of torch 1.6 or newer; return its pickle."""
    length = require_one_directory(file)
    with zipfile.ZipFile(file) as archive:
        require_different_names(archive)
        parts = _check_parts(archive.infolist(), length)
        pickled = archive.read(parts["data.pkl"])
    storages = Storages()
    read_pickle(io.BytesIO(pickled), TORCH_NAMES, storages.refer)
    for storage in storages.found.values():
        held = parts[f"data/{storage.key}"].file_size
        if storage.num_items * storage.item_size != held:
            raise OversizedError(
                f"promises {amount(storage.num_items * storage.item_size)} bytes of the storage "
                f"'{storage.key[:40]}' and holds {held:,}"
            )
    return pickled


def _check_parts(entries: list[zipfile.ZipInfo], length: int) -> dict[str, zipfile.ZipInfo]:
    """Return the parts by their names below the one folder of the archive."""
    folder = entries[0].filename.partition("/")[0] + "/"
    parts = {entry.filename.removeprefix(folder): entry for entry in entries}
    if not all(one.filename.startswith(folder) for one in entries):
        raise pickle.UnpicklingError("the archive has two folders")
    if "constants.pkl" in parts:
        raise RefusedError("a TorchScript program")
    for name, entry in parts.items():
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise OversizedError(f"has a compressed part, '{name[:40]}', which torch never writes")
    total = sum(entry.file_size for entry in entries)
    if total > length:
        raise OversizedError(f"promises {amount(total)} bytes in {length:,}")
    return parts


def _check_old(file: IO[bytes]) -> bytes:
    """Check a file of torch before 1.6: pickles, then the numbers; return the pickles."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        _refuse_tar(content[: tarfile.BLOCKSIZE])
        magic, version, _ = (read_pickle(content, TORCH_NAMES) for _ in range(3))
        if (magic, version) != (_MAGIC, _VERSION):
            raise pickle.UnpicklingError("the file does not begin as torch.save does")
        storages = Storages()
        read_pickle(content, TORCH_NAMES, storages.refer)
        keys = read_pickle(content, TORCH_NAMES)
        pickled = content[: content.tell()]
        if sorted(keys) != sorted(storages.found):
            raise OversizedError("promises storages that it does not hold")
        for key in keys:
            _skip_storage(content, storages.found[key])
    return pickled


def _skip_storage(content: mmap.mmap, storage: Storage) -> None:
    (count,) = struct.unpack("<q", content.read(8))
    start = content.tell()
    num_bytes = storage.num_items * storage.item_size
    if count != storage.num_items or num_bytes > len(content) - start:
        raise OversizedError(
            f"promises {amount(num_bytes)} bytes of the storage '{storage.key[:40]}' and holds at "
            f"most {len(content) - start:,}"
        )
    content.seek(start + num_bytes)


def _refuse_tar(head: bytes) -> None:
    """Refuse an archive of torch 0.1, whose sizes Python's reader believes."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return
    raise RefusedError("a tar archive")


def _allowed(pickled: bytes) -> AbstractContextManager[Any]:
    """Let torch's reader read what it does not by itself, and was checked before."""
    allowed: list[Any] = [argparse.Namespace] if b"argparse" in pickled else []
    if b"numpy" in pickled:
        allowed += [
            np.ndarray,
            np.dtype,
            *(type(np.dtype(code)) for code in "?bBhHiIlLqQefdgFDGSUO"),
        ]
        for package in ("core", "_core"):
            allowed += [(_RECONSTRUCT, f"numpy.{package}.multiarray._reconstruct")]
            allowed += [(_SCALAR, f"numpy.{package}.multiarray.scalar")]
    return torch.serialization.safe_globals(allowed) if allowed else nullcontext()

"""Reading checkpoint files: ``.pth``, ``.pkl`` and ``.safetensors`` become one kind of dict."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from d2seg.core.runtime.files import PathManager
from d2seg.core.runtime.untrusted.arrays import read_plain_pickle
from d2seg.core.runtime.untrusted.parts import (
    OversizedError,
    RefusedError,
    explain,
    require_plausible,
)
from d2seg.core.runtime.untrusted.torch_files import check_torch, load_torch
from d2seg.core.runtime.untrusted.unsafe import is_unsafe_allowed, warn_of_code

_MOST_NAMES = 16
"""Of one tensor, on average: heads that layers or levels share."""


def find_checkpoint(address: str, path_manager: Any = PathManager) -> str:
    """Return the local file of an address, downloading it if need be.

    Args:
        address: A file, or an address that ``path_manager`` knows.
        path_manager: An iopath PathManager.

    Raises:
        FileNotFoundError: There is no such file, or it cannot be fetched.
    """
    try:
        path = str(path_manager.get_local_path(address))
    except OSError as error:
        reason = _first_line(error).rstrip(".")
        raise FileNotFoundError(
            f"Checkpoint '{address}' cannot be fetched: {reason}. Check the address and the "
            "network, or give a local file (MODEL.WEIGHTS)."
        ) from error
    if not Path(path).is_file():
        kind = "is a folder; name the file in it" if Path(path).is_dir() else "does not exist"
        raise FileNotFoundError(f"Checkpoint '{address}' {kind} (MODEL.WEIGHTS).")
    return path


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a checkpoint file without running anything it contains; see docs/security.md.

    What the file may ask for is limited to tensors, arrays, numbers, texts and containers, and what
    it promises is compared with what it holds before memory is taken for it. Only where the user
    allows it (``--unsafe``), a file that asks for more is read by the unpickler of Python.

    Args:
        path: A local file. ``.pkl`` is a pickle of arrays, ``.safetensors`` what it says, and any
            other suffix a file of ``torch.save``.

    Returns:
        ``model`` (name to tensor or array) and whatever else the file holds. Files with Caffe2
        names get ``__author__`` "Caffe2" and ``matching_heuristics`` True.

    Raises:
        ValueError: The file is truncated, of another kind, asks for more than data, promises
            more than it holds, or fails while it runs.
    """
    readers = {".pkl": _read_pickle, ".safetensors": _read_safetensors}
    checkpoint = readers.get(Path(path).suffix, _read_torch)(path)
    if not isinstance(checkpoint["model"], dict):
        raise ValueError(f"Checkpoint '{path}' holds no dict of names to tensors under 'model'.")
    strange = [name for name, value in checkpoint["model"].items() if not _is_entry(name, value)]
    if strange:
        raise ValueError(
            f"Checkpoint '{path}' holds no state dict of a model: {len(strange)} of its "
            f"{len(checkpoint['model'])} entries are not tensors, such as {strange[0]!r:.100}."
        )
    _require_no_copies(path, checkpoint["model"])
    return checkpoint


def _require_no_copies(path: str, model: Mapping[str, Any]) -> None:
    """Refuse tensors that are views of one storage, when copies of them would take too much."""
    tensors = (value for value in model.values() if isinstance(value, torch.Tensor))
    total = sum(one.nbytes for one in tensors if one.layout == torch.strided)
    try:
        require_plausible(Path(path).stat().st_size, total, _MOST_NAMES)
    except OversizedError as error:
        raise _unreadable(path, error) from error


def require_data(path: str) -> None:
    """Refuse a checkpoint file that asks for more than data, before another reader runs it.

    Args:
        path: A local file: ``.pkl``, or of ``torch.save``.

    Raises:
        ValueError: It is truncated, asks for more, or promises more than it holds.
    """
    check = read_plain_pickle if Path(path).suffix == ".pkl" else check_torch
    try:
        check(path)
    except pickle.UnpicklingError as error:
        if not (isinstance(error, RefusedError) and is_unsafe_allowed()):
            raise _unreadable(path, error) from error
        warn_of_code(path, error.name)


def _read_torch(path: str) -> dict[str, Any]:
    try:
        loaded = load_torch(path)
    except RefusedError as error:
        if not is_unsafe_allowed():
            raise _unreadable(path, error) from error
        loaded = _run(path, error.name, lambda: torch.load(path, "cpu", weights_only=False))
    except pickle.UnpicklingError as error:
        raise _unreadable(path, error) from error
    return _with_model(loaded, path)


def _run(path: str, name: str, read: Callable[[], Any]) -> Any:
    """Let Python's unpickler read a file that asks for ``name``, as the user allows."""
    warn_of_code(path, name)
    try:
        return read()
    except Exception as error:  # of whatever the file calls
        raise ValueError(
            f"Checkpoint '{path}' cannot be read, not even with --unsafe: it fails with "
            f"{type(error).__name__} ({_first_line(error)})."
        ) from error


def _read_pickle(path: str) -> dict[str, Any]:
    try:
        loaded = read_plain_pickle(path)
    except RefusedError as error:
        if not is_unsafe_allowed():
            raise _unreadable(path, error) from error
        content = Path(path).read_bytes()
        loaded = _run(path, error.name, lambda: pickle.loads(content, encoding="latin1"))
    except pickle.UnpicklingError as error:
        raise _unreadable(path, error) from error
    if isinstance(loaded, Mapping) and "model" in loaded and "__author__" in loaded:
        return dict(loaded)
    blobs = loaded.get("blobs", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(blobs, Mapping):
        raise ValueError(f"Checkpoint '{path}' must hold a dict, found {type(loaded).__name__}.")
    model = {name: blob for name, blob in blobs.items() if not _is_momentum(name)}
    return {"model": model, "__author__": "Caffe2", "matching_heuristics": True}


def _read_safetensors(path: str) -> dict[str, Any]:
    try:
        return {"model": load_file(path)}
    # The library compares sizes with the file's; a type that torch lacks ends in other errors.
    except Exception as error:
        raise _unreadable(path, error) from error


def _with_model(loaded: Any, path: str) -> dict[str, Any]:
    if not isinstance(loaded, Mapping):
        raise ValueError(
            f"Checkpoint '{path}' must hold a state dict, found {type(loaded).__name__}; save "
            "model.state_dict()."
        )
    return dict(loaded) if "model" in loaded else {"model": loaded}


def _is_momentum(name: Any) -> bool:
    return isinstance(name, str) and name.endswith("_momentum")


def _is_entry(name: Any, value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return isinstance(name, str) and value.dtype.kind in "biufc"
    return isinstance(name, str) and isinstance(value, torch.Tensor)


def _unreadable(path: str, error: Exception) -> ValueError:
    hint = " (--unsafe would run what it asks for)" if isinstance(error, RefusedError) else ""
    return ValueError(f"Checkpoint '{path}' cannot be read: it {explain(error)}{hint}.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")

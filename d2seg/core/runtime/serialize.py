"""Files of torch as bytes, and functions that other processes can be given, lambdas too."""

import io
import pickle
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch


def torch_bytes(content: Any) -> memoryview:
    """Return what ``torch.save`` would write.

    Written by Python's own means it tells of a full disk by an OSError that people understand;
    torch itself raises a RuntimeError about its reader of archives.
    """
    torch.save(content, buffer := io.BytesIO())
    return buffer.getbuffer()


class PicklableWrapper:
    """A callable that can be pickled, whatever the callable inside.

    What the standard pickle refuses (lambdas, closures) goes through the package cloudpickle.
    """

    def __init__(self, obj: Any) -> None:
        """Hold a callable; a wrapper is unwrapped first."""
        self._obj: Any = obj._obj if isinstance(obj, PicklableWrapper) else obj

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _restored, (_pickled(self._obj),)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object inside."""
        return self._obj(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_obj":  # asked for before it is set, by copy
            raise AttributeError(name)
        return getattr(self._obj, name)


def _restored(data: bytes) -> PicklableWrapper:
    return PicklableWrapper(pickle.loads(data))


def _pickled(value: Any) -> bytes:
    try:
        return pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        try:
            cloudpickle = import_module("cloudpickle")  # has no type information
        except ImportError:
            raise TypeError(
                f"{value!r} cannot be sent to another process ({error}). Define it at the top of a "
                "module, or install cloudpickle (pip install cloudpickle)."
            ) from error
        return cloudpickle.dumps(value)

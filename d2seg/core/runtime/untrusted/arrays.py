"""What names in a pickle of plain values stand for: containers, and numpy's arrays and numbers.

numpy's own functions are not called with what a file says, as they trust it.
"""

import math
import mmap
import os
import pickle
import re
from collections import OrderedDict
from typing import Any

import numpy as np

from d2seg.core.runtime.untrusted.parts import Names, OversizedError, Unfinished, amount, as_key
from d2seg.core.runtime.untrusted.pickles import read_pickle

_TYPES = re.compile(r"b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SU][1-9]\d{0,8}|O[48]")
_ORDERS = ("<", ">", "=", "|")
_Shape = tuple[int, ...]


def read_plain_pickle(path: str | os.PathLike[str]) -> Any:
    """Return the object in a pickle of arrays, numbers, texts and containers.

    Args:
        path: A local file.

    Raises:
        RefusedError: It refers to something else.
        OversizedError: It promises more than it holds.
        pickle.UnpicklingError: Truncated, damaged, or not a pickle.
    """
    if not os.path.getsize(path):
        raise pickle.UnpicklingError("the file is empty")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return read_pickle(content, PLAIN_NAMES)


class _DType(Unfinished):
    """A type of numbers; its state is a tuple whose second item is the order of bytes."""

    def __init__(self, name: Any, *_: Any) -> None:
        super().__init__()
        if not isinstance(name, str) or not _TYPES.fullmatch(name):
            raise pickle.UnpicklingError(f"no numbers are of the type {name!r:.40}")
        self._dtype = np.dtype(name)

    def finish(self, state: Any) -> np.dtype:
        order, *composite = state[1:5]
        if order not in _ORDERS or any(part is not None for part in composite):
            raise pickle.UnpicklingError("a type of numbers is composed of others")
        return self._dtype.newbyteorder(order)


class _Array(Unfinished):
    """An array; its state is ``([version,] shape, dtype, is_fortran, data)``."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def finish(self, state: Any) -> np.ndarray:
        shape, dtype, is_fortran, data = state[-4:]
        return _make_array(data, dtype, shape, "F" if is_fortran else "C")


def _make_array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Return a writable array in this machine's order of bytes."""
    _require_dtype(dtype)
    count = _count(shape)
    if dtype.kind == "O":
        return _make_object_array(data, count).reshape(shape, order=order)
    buffer = bytearray(_as_bytes(data))
    if len(buffer) != count * dtype.itemsize:
        raise OversizedError(
            f"has an array of {amount(count)} numbers of {dtype.itemsize} bytes in "
            f"{len(buffer):,} bytes"
        )
    array: np.ndarray = np.ndarray(shape, dtype, buffer=buffer, order=order)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _make_object_array(items: Any, count: int) -> np.ndarray:
    if type(items) is not list or len(items) != count:
        raise OversizedError(f"has an array of {amount(count)} objects that are not there")
    array = np.empty(count, dtype=object)
    for index, item in enumerate(items):
        array[index] = item
    return array


def _make_number(dtype: Any, data: Any) -> Any:
    return _make_array(data, dtype, (), "C")[()]


def _count(shape: Any) -> int:
    if type(shape) is not tuple or any(type(size) is not int or size < 0 for size in shape):
        raise pickle.UnpicklingError("the shape of an array is no tuple of sizes")
    return math.prod(shape)


def _require_dtype(dtype: Any) -> None:
    if not isinstance(dtype, np.dtype):
        raise pickle.UnpicklingError("an array has no type of numbers")


def _as_bytes(data: Any) -> bytes | bytearray:
    if isinstance(data, str):  # of Python 2
        return data.encode("latin-1")
    if isinstance(data, bytes | bytearray):
        return data
    raise pickle.UnpicklingError(f"bytes were expected, found {type(data).__name__}")


def _encode(text: str, encoding: str) -> bytes:
    """Return bytes that Python 3 wrote as text, for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes are written as {encoding!r:.40}")
    return text.encode(encoding)


def _make_bytes(data: Any = b"", *_: Any) -> bytes:
    return bytes(_as_bytes(data))


def _make_bytearray(data: Any = b"", *_: Any) -> bytearray:
    return bytearray(_as_bytes(data))


def _make_complex(real: float, imaginary: float) -> complex:
    return complex(float(real), float(imaginary))


def _make_set(items: list[Any]) -> set[Any]:
    return set(map(as_key, items))


def _make_frozenset(items: list[Any]) -> frozenset[Any]:
    return frozenset(map(as_key, items))


def make_ordered_dict(pairs: list[Any] | tuple[Any, ...] = ()) -> OrderedDict[Any, Any]:
    """Return the dict of a list of keys and values."""
    return OrderedDict((as_key(key), value) for key, value in pairs)


def named_only(*_: Any) -> Any:
    """Stand for a class that is an argument of others, and is never called itself."""
    raise pickle.UnpicklingError("a class is called that is only named")


PLAIN_NAMES: Names = {
    "_codecs.encode": _encode,
    "collections.OrderedDict": make_ordered_dict,
    "numpy.dtype": _DType,
    "numpy.ndarray": named_only,
    # numpy 2 renamed its private package; files hold either name.
    **{
        f"numpy.{package}.{name}": make
        for package in ("core", "_core")
        for name, make in (
            ("multiarray._reconstruct", _Array),
            ("multiarray.scalar", _make_number),
            ("numeric._frombuffer", _make_array),
        )
    },
    # The second is how Python 2 called the module, which is also what protocols up to 2 write.
    **{
        f"{module}.{make.__name__.removeprefix('_make_')}": make
        for module in ("builtins", "__builtin__")
        for make in (_make_bytes, _make_bytearray, _make_complex, _make_frozenset, _make_set)
    },
}
"""The names in a pickle of plain values."""

"""What the parts of a pickle are while it is read, and why one is refused."""

import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np


class Readable(Protocol):
    """Where bytes come from: an ``io.BytesIO`` or an ``mmap``.

    Not a file: that reserves as much memory as it is asked for, before it looks how much there is.
    """

    def read(self, size: int, /) -> bytes:
        """Return so many bytes, fewer at the end."""

    def readline(self) -> bytes:
        """Return what there is up to the next newline."""

    def tell(self) -> int:
        """Return how many bytes there were so far."""


class RefusedError(pickle.UnpicklingError):
    """A file asks for something that is not given to it; ``name`` says what."""

    def __init__(self, name: str) -> None:
        super().__init__(f"refers to '{name}'")
        self.name = name


class OversizedError(pickle.UnpicklingError):
    """A file promises more than it holds; the message, after "it", says what."""


class Known(NamedTuple):
    """What a name in a pickle stands for here.

    Attributes:
        name: Module and name, with a dot.
        make: Called in place of what has this name elsewhere.
    """

    name: str
    make: Callable[..., Any]


class Unfinished:
    """Something that a later instruction of the pickle completes, giving it its state."""

    must_finish = True
    """Whether a pickle without that instruction is damaged."""

    def __init__(self) -> None:
        self.places: list[int] = []
        """Where the machine remembers it."""

    def finish(self, state: Any) -> Any:
        """Return what takes its place."""
        raise NotImplementedError


_LONGEST_KEY = 64
"""Bits of a number, parts of a tuple."""

_ALWAYS_PLAUSIBLE = 64 * 2**20

_BULKY = (str, bytes, bytearray, list, tuple, dict, set, frozenset)
_BYTES_OF_ITEM: dict[type, int] = {str: 1, bytes: 1, bytearray: 1}
"""Others take what an entry of a dict does."""

Names = Mapping[str, Callable[..., Any]]
"""Module and name, with a dot, to what is called for it."""


def as_key(value: Any) -> Any:
    """Return a value that is to be the key of a dict or an element of a set.

    Raises:
        pickle.UnpicklingError: It is no number or text, nor a short tuple of them. Of tuples in
            tuples, long numbers and long tuples, a few bytes make one that takes for ever to hash.
    """
    parts = value if type(value) is tuple else (value,)
    if len(parts) > _LONGEST_KEY or not all(map(_is_plain_key, parts)):
        raise pickle.UnpicklingError(f"a {type(value).__name__} is no key of a dict")
    return value


def _is_plain_key(part: Any) -> bool:
    if isinstance(part, int):
        return part.bit_length() <= _LONGEST_KEY
    return part is None or isinstance(part, str | bytes | float | np.generic)


def amount(number: int) -> str:
    """Write a number that a file has made up."""
    return f"{number:,}" if number < 10**15 else "more than 10**15"


def require_plausible(stored: int, unpacked: int, times: int) -> None:
    """Refuse what unpacks to more than a multiple of its size and 64 MiB.

    Raises:
        OversizedError: It does.
    """
    if unpacked > _ALWAYS_PLAUSIBLE + times * stored:
        raise OversizedError(f"unpacks {stored:,} bytes to {amount(unpacked)}")


def weight(values: Sequence[Any]) -> int:
    """Return about how many bytes a function takes that copies these arguments."""
    bulky = (one for one in values if isinstance(one, _BULKY))
    return 8 * len(values) + sum(len(one) * _BYTES_OF_ITEM.get(type(one), 32) for one in bulky)


def explain(error: Exception) -> str:
    """Say why a file is not read, as what comes after "it"."""
    if isinstance(error, RefusedError):
        return (
            f"refers to {error.name[:200]!r}, and only tensors, arrays, numbers, texts and plain "
            "containers are read"
        )
    if isinstance(error, OversizedError):
        return str(error)
    return "is truncated, or of another kind"

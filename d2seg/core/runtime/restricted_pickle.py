"""Unpickling of plain containers and numpy arrays, and of nothing that could run code."""

import io
import pickle
from typing import Any

_CONTAINERS = (
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "set",
    "str",
    "tuple",
)

ALLOWED = frozenset(
    [
        # The second is how Python 2 called the module, which is also what protocols up to 2 write.
        *((module, name) for module in ("builtins", "__builtin__") for name in _CONTAINERS),
        ("collections", "OrderedDict"),
        ("_codecs", "encode"),  # how Python 3 writes bytes for Python 2
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        # numpy 2 renamed its private package; files hold either name.
        *(
            (f"numpy.{package}.{module}", name)
            for package in ("core", "_core")
            for module, name in (
                ("multiarray", "_reconstruct"),
                ("multiarray", "scalar"),
                ("numeric", "_frombuffer"),
            )
        ),
    ]
)
"""The (module, name) pairs a file may refer to."""


class RefusedNameError(pickle.UnpicklingError):
    """A pickle refers to a class or function that is not allowed; ``name`` says which."""

    def __init__(self, name: str) -> None:
        super().__init__(f"refers to '{name}'")
        self.name = name


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that refuses to look up anything outside ``ALLOWED``."""

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed class or function.

        Raises:
            RefusedNameError: It is not allowed.
        """
        if (module, name) not in ALLOWED:
            raise RefusedNameError(f"{module}.{name}")
        return super().find_class(module, name)


def restricted_loads(data: bytes) -> Any:
    """Return the object in ``data``, a pickle; strings of Python 2 are read as Latin-1.

    Raises:
        RefusedNameError: It refers to something not allowed.
        pickle.UnpicklingError: Truncated, or not a pickle.
    """
    try:
        return RestrictedUnpickler(io.BytesIO(data), encoding="latin1").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # damaged opcodes end in an error of almost any type
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error

"""A loader whose worker processes fail with the same words as this process would."""

import ast
import re
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

__all__ = ["PlainErrorLoader"]

_IN_WORKER = " in DataLoader worker process "


class PlainErrorLoader(DataLoader):
    """A DataLoader that raises what failed in a worker process without its traceback.

    torch puts the traceback of the worker into the message; it stays in the ``__cause__``.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return _raise_plainly(super().__iter__())


def _raise_plainly(batches: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from batches
    except Exception as error:
        message = _message_in_worker(error)
        if message is None:
            raise
        raise type(error)(message) from error


def _message_in_worker(error: Exception) -> str | None:
    """Return the message that an error had in its worker; None if it comes from elsewhere."""
    text = str(error.args[0]) if error.args else ""
    if _IN_WORKER not in text.split("\n", 1)[0]:
        return None
    # The last line that names the type: causes come before it.
    named = re.finditer(rf"^(?:\w+\.)*{type(error).__name__}: ", text, re.MULTILINE)
    ends = [match.end() for match in named]
    if not ends:
        return None
    message = text[ends[-1] :].strip()
    # Python prints the argument of a KeyError as it would be written in a program.
    quoted = type(error) is KeyError and message[:1] in "'\""
    return str(ast.literal_eval(message)) if quoted else message

"""The one way to let a file run the code it asks for: the user says so."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "D2SEG_UNSAFE"
"""Variable of the environment, which processes that are started inherit; 1 allows it."""

logger = logging.getLogger(__name__)


@contextmanager
def unsafe_files() -> Iterator[None]:
    """Let checkpoint files run any code inside the block, with the rights of the user.

    A file that asks for nothing beyond data is still read as data.
    """
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def is_unsafe_allowed() -> bool:
    """Tell whether the user lets checkpoint files run code."""
    return os.environ.get(VARIABLE, "0") not in {"", "0"}


def warn_of_code(path: str, name: str) -> None:
    """Say that a file runs code now.

    Args:
        path: The file.
        name: What it asks for.
    """
    logger.warning(
        "UNSAFE: the file '%s' asks for '%s' and runs whatever else it contains now, with all your "
        "rights, because --unsafe or %s=1 was given.",
        path,
        name,
        VARIABLE,
    )

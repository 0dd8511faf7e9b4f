"""The registry class, and objects by their full name, under detectron2's path."""

import pydoc
from typing import Any

from d2seg.core.runtime.registry import Registry

__all__ = ["Registry", "locate"]


def locate(name: str) -> Any:
    """Return the object that a dotted name, such as ``torch.nn.ReLU``, stands for.

    Raises:
        ImportError: There is none.
    """
    found = pydoc.locate(name)
    if found is None:
        raise ImportError(f"There is no object '{name}'; check the name, and that it is installed.")
    return found

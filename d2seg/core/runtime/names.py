"""Objects by their dotted names, and the names of objects."""

import pydoc
import sys
from importlib import import_module
from typing import Any

_ALIAS = "detectron2"
_OWN = "d2seg.core"


def locate(name: str) -> Any:
    """Return the object that a dotted name, such as ``torch.nn.ReLU``, stands for.

    detectron2's names lead to this framework where detectron2 is not installed.

    Raises:
        ImportError: There is none.
    """
    found = pydoc.locate(name)
    if found is None and name.startswith(f"{_ALIAS}."):
        found = pydoc.locate(_OWN + name.removeprefix(_ALIAS))
    if found is None:
        raise ImportError(f"There is no object '{name}'; check the name, and that it is installed.")
    return found


def target_name(target: Any) -> str:
    """Return the shortest dotted name that leads to a function or class.

    While the name ``detectron2`` is served by this framework, names begin with it, so that what is
    written with them can be read by either.
    """
    module, name = target.__module__, target.__qualname__
    parts = module.split(".")
    for length in range(1, len(parts)):
        short = ".".join(parts[:length])
        if getattr(import_module(short), name, None) is target:
            module = short
            break
    if module.startswith(f"{_OWN}.") and sys.modules.get(_ALIAS) is sys.modules[_OWN]:
        module = _ALIAS + module.removeprefix(_OWN)
    return f"{module}.{name}"

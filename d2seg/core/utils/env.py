"""The environment of a program, under detectron2's path."""

import importlib
import importlib.util
import os
import sys
from types import ModuleType

import torch

from d2seg.core.runtime.seed import seed_all_rng

__all__ = [
    "TORCH_VERSION",
    "fixup_module_metadata",
    "seed_all_rng",
    "setup_custom_environment",
    "setup_environment",
]

TORCH_VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
"""Major and minor version of torch."""

_done = False


def setup_environment() -> None:
    """Run the module that ``DETECTRON2_ENV_MODULE`` names, once; nothing if it is not set."""
    global _done  # noqa: PLW0603
    if not _done:
        _done = True
        custom = os.environ.get("DETECTRON2_ENV_MODULE")
        if custom:
            setup_custom_environment(custom)


def setup_custom_environment(custom_module: str) -> None:
    """Call ``setup_environment()`` of a module.

    Args:
        custom_module: Name of the module, or path of its file.

    Raises:
        ValueError: The module has no such function.
    """
    module = _load(custom_module)
    setup = getattr(module, "setup_environment", None)
    if not callable(setup):
        raise ValueError(f"'{custom_module}' has no function setup_environment().")
    setup()


def fixup_module_metadata(
    module_name: str, namespace: dict[str, object], keys: object = None
) -> None:
    """Make the public functions and classes of a namespace say that they are from a module.

    Args:
        module_name: What they say.
        namespace: Names to objects; those listed in its ``__all__``, or ``keys``, are changed.
        keys: Names.
    """
    names = keys if isinstance(keys, list | tuple) else namespace.get("__all__", namespace)
    for name in list(names):  # type: ignore[call-overload]
        found = namespace.get(name)
        origin = getattr(found, "__module__", None)
        if isinstance(origin, str) and origin.startswith(module_name):
            found.__module__ = module_name


def _load(custom_module: str) -> ModuleType:
    if not custom_module.endswith(".py"):
        return importlib.import_module(custom_module)
    name = "d2seg_custom_environment"
    spec = importlib.util.spec_from_file_location(name, custom_module)
    if spec is None or spec.loader is None or not os.path.isfile(custom_module):
        raise FileNotFoundError(f"There is no Python file '{custom_module}'.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

"""From descriptions of calls to their results: ``{"_target_": f, "x": 1}`` is ``f(x=1)``."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from d2seg.core.runtime.names import locate, target_name


def instantiate(cfg: Any) -> Any:
    """Make the calls that a config describes, inner ones first.

    This runs whatever the config names, ``os.system`` too: a config of a stranger is a program.

    Args:
        cfg: A mapping with ``_target_``, a function, a class, the dotted name of one, or a
            description of it; its other entries are the keyword arguments. Lists are worked
            through; anything else is returned as it is.

    Raises:
        TypeError: The target cannot be called.
        ImportError: There is no object of the target's name.
    """
    if _is_list(cfg):
        return [instantiate(one) for one in cfg]
    structured = _structured_object(cfg)
    if structured is not None:
        return structured
    if not isinstance(cfg, Mapping) or "_target_" not in cfg:
        return cfg
    arguments = {str(name): instantiate(value) for name, value in cfg.items()}
    target = arguments.pop("_target_")
    if isinstance(target, str):
        target = locate(target)
    if not callable(target):
        raise TypeError(f"_target_ must be something to call; found {target!r}.")
    return target(**arguments)


def describe_dataclass(value: Any) -> dict[str, Any]:
    """Describe an instance of a dataclass as the call that makes it, those inside it included.

    Raises:
        TypeError: It is no instance of a dataclass.
    """
    if not _is_dataclass_instance(value):
        raise TypeError(f"describe_dataclass needs an instance of a dataclass; found {value!r}.")
    described: dict[str, Any] = {"_target_": target_name(type(value))}
    for field in dataclasses.fields(value):
        described[field.name] = _described(getattr(value, field.name))
    return described


dump_dataclass = describe_dataclass
"""detectron2's name of it."""


def _described(value: Any) -> Any:
    if _is_dataclass_instance(value):
        return describe_dataclass(value)
    return [_described(one) for one in value] if isinstance(value, list | tuple) else value


def _is_dataclass_instance(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _is_list(cfg: Any) -> bool:
    # omegaconf's lists by name: the package is optional.
    return isinstance(cfg, list) or type(cfg).__name__ == "ListConfig"


def _structured_object(cfg: Any) -> Any:
    """Return the dataclass instance that omegaconf has turned into a config, if it is one."""
    kind = getattr(getattr(cfg, "_metadata", None), "object_type", None)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return None
    from omegaconf import OmegaConf

    return OmegaConf.to_object(cfg)

"""A class for TorchScript that does for given fields what Instances do for any."""

import itertools
import linecache
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from d2seg.core.structures import BitMasks, Boxes, Instances, ROIMasks, RotatedBoxes

_NUMBER = itertools.count()
_KNOWN_TYPES = {kind.__name__: kind for kind in (BitMasks, Boxes, ROIMasks, RotatedBoxes)}

_HEAD = """
class ScriptedInstances:
    def __init__(self, image_size: Tuple[int, int]):
        self.image_size = image_size
{defaults}

    def __len__(self) -> int:
{lengths}
        raise NotImplementedError("Instances without fields have no length; set a field first.")

    def has(self, name: str) -> bool:
{known}
        return False

    def to(self, device: torch.device) -> "ScriptedInstances":
        moved = ScriptedInstances(self.image_size)
{moves}
        return moved

    def __getitem__(self, item: Tensor) -> "ScriptedInstances":
        chosen = ScriptedInstances(self.image_size)
{choices}
        return chosen
"""

_PROPERTY = """
    @property
    def {name}(self) -> {kind}:
        value = self._{name}
        assert value is not None
        return value

    @{name}.setter
    def {name}(self, value: {kind}) -> None:
        self._{name} = value
"""


def make_scripted_instances(fields: Mapping[str, Any]) -> type:
    """Make a class with these fields and compile it.

    TorchScript reads the source of classes, so there has to be one.

    Args:
        fields: Names of fields, each with its type or the name of its type.

    Returns:
        The class. A field that has not been set is None inside; reading it is an error.

    Raises:
        TypeError: The type of a field is not one that TorchScript can be told about.
        ValueError: A field's name cannot be one.
    """
    kinds = {name: _type_name(name, kind) for name, kind in fields.items()}
    cls = _run_source(_source(kinds), fields).ScriptedInstances
    cls._field_names = list(kinds)
    cls.from_instances = staticmethod(lambda instances: _from_instances(cls, instances))
    torch.jit.script(cls)
    return cls


def _from_instances(cls: Any, instances: Instances) -> Any:
    made = cls(tuple(instances.image_size))
    for name, value in instances.get_fields().items():
        if name not in cls._field_names:
            raise KeyError(
                f"The compiled instances have no field '{name}'; they can have: "
                f"{', '.join(cls._field_names)}."
            )
        setattr(made, name, value)
    return made


def _source(kinds: Mapping[str, str]) -> str:
    def lines(template: str) -> str:
        return "\n".join(template.format(name=name, kind=kind) for name, kind in kinds.items())

    head = _HEAD.format(
        defaults=lines("        self._{name} = torch.jit.annotate(Optional[{kind}], None)"),
        lengths=lines(
            "        {name} = self._{name}\n"
            "        if {name} is not None:\n            return len({name})"
        ),
        known=lines("        if name == '{name}':\n            return self._{name} is not None"),
        moves=lines(
            "        {name} = self._{name}\n"
            "        if {name} is not None:\n            moved._{name} = {name}.to(device)"
        ),
        choices=lines(
            "        {name} = self._{name}\n"
            "        if {name} is not None:\n            chosen._{name} = {name}[item]"
        ),
    )
    return head + lines(_PROPERTY)


def _run_source(source: str, fields: Mapping[str, Any]) -> Any:
    name = f"d2seg_scripted_instances_{next(_NUMBER)}"
    file = f"<{name}>"
    module = ModuleType(name)
    module.__file__ = file
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    module.__dict__.update(torch=torch, Tensor=Tensor, **_KNOWN_TYPES)
    module.__dict__.update({k.__name__: k for k in fields.values() if isinstance(k, type)})
    sys.modules[name] = module
    exec(compile("from typing import Optional, Tuple\n", file, "exec"), module.__dict__)
    exec(compile(source, file, "exec"), module.__dict__)
    return module


def _type_name(name: str, kind: Any) -> str:
    if not name.isidentifier() or name.startswith("_"):
        raise ValueError(f"'{name}' cannot be the name of a field.")
    given = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    given = given.rsplit(".", 1)[-1]
    if isinstance(kind, type) or given == "Tensor" or given in _KNOWN_TYPES:
        return given
    raise TypeError(
        f"Field '{name}' has type {kind!r}, but must have a class, or one of the names Tensor, "
        f"{', '.join(_KNOWN_TYPES)}."
    )

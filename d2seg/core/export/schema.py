"""Nested inputs and outputs as flat tuples, with a note of how to nest them again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, as_tensor, stack

from d2seg.core.runtime.names import locate, target_name
from d2seg.core.structures import Boxes, Instances, ROIMasks

_WRAPPERS = (Boxes, ROIMasks)


@dataclass
class Schema:
    """How a flat tuple becomes a nested object again. It can be written as JSON and compared.

    Attributes:
        kind: leaf, list, tuple, dict, instances, or wrapped (an object around one tensor).
        parts: Schemas of the values inside.
        sizes: How many values of the flat tuple belong to each part.
        names: Keys of a dict, fields of instances.
        class_name: Of a wrapped tensor.
    """

    kind: str = "leaf"
    parts: list["Schema"] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    names: list[Any] = field(default_factory=list)
    class_name: str = ""

    def __call__(self, values: Sequence[Any]) -> Any:
        """Nest the values of a flat tuple.

        Raises:
            ValueError: There are more or fewer values than there were.
        """
        expected = sum(self.sizes) if self.kind != "leaf" else 1
        if len(values) != expected:
            raise ValueError(f"The schema nests {expected} values, found {len(values)}.")
        if self.kind == "leaf":
            return values[0]
        inner, start = [], 0
        for part, size in zip(self.parts, self.sizes, strict=True):
            inner.append(part(values[start : start + size]))
            start += size
        return self._assemble(inner)

    def _assemble(self, inner: list[Any]) -> Any:
        if self.kind == "wrapped":
            return locate(self.class_name)(inner[0])
        if self.kind == "dict":
            return dict(zip(self.names, inner, strict=True))
        if self.kind == "instances":
            return Instances(inner[-1], **dict(zip(self.names, inner[:-1], strict=True)))
        return tuple(inner) if self.kind == "tuple" else inner


def flatten_to_tuple(obj: Any) -> tuple[tuple[Any, ...], Schema]:
    """Flatten nested lists, tuples, dicts, Instances and boxes.

    Instances give their fields by name, and last their image size as a tensor.

    Returns:
        What is inside, in order, and the schema that nests it again.
    """
    if isinstance(obj, list | tuple):
        return _join("list" if isinstance(obj, list) else "tuple", list(obj))
    if isinstance(obj, dict):
        return _join("dict", list(obj.values()), list(obj))
    if isinstance(obj, Instances):
        names = sorted(obj.get_fields())
        size_hw: Any = obj.image_size
        if not isinstance(size_hw, Tensor):
            # Apart: joined at once, sizes that a trace follows would become constants of it.
            size_hw = stack([as_tensor(length) for length in size_hw])
        return _join("instances", [*(obj.get(name) for name in names), size_hw], names)
    if isinstance(obj, _WRAPPERS):
        values, schema = _join("wrapped", [obj.tensor])
        schema.class_name = target_name(type(obj))
        return values, schema
    return (obj,), Schema()


def _join(
    kind: str, inner: list[Any], names: list[Any] | None = None
) -> tuple[tuple[Any, ...], Schema]:
    flat = [flatten_to_tuple(one) for one in inner]
    values = tuple(value for one, _ in flat for value in one)
    return values, Schema(kind, [part for _, part in flat], [len(v) for v, _ in flat], names or [])

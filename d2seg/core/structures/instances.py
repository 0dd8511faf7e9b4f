"""Everything known about the objects of one image, field by field."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from d2seg.core.structures.script_types import moved


class Instances:
    """The objects of one image: fields of equal length, reached as attributes.

        instances = Instances((480, 640), pred_boxes=Boxes(boxes))
        instances.scores = scores
        confident = instances[instances.scores > 0.5]

    A field is anything with a length that can be indexed: a tensor, a list, Boxes, masks.
    """

    def __init__(self, image_size: tuple[int, int], **fields: Any) -> None:
        """Describe objects in an image.

        Args:
            image_size: Image height and width in pixels.
            **fields: Initial fields.
        """
        self._image_size = image_size
        self._fields: dict[str, Any] = {}
        for name, value in fields.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """Image height and width in pixels."""
        return self._image_size

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.set(name, value)

    def __getattr__(self, name: str) -> Any:
        # Called only when ordinary lookup failed. Before __init__ (copy, pickle) there is no
        # _fields; asking for it here again would never end.
        fields = self.__dict__.get("_fields", {})
        if name not in fields:
            raise AttributeError(
                f"These Instances have no field '{name}'; they have: {', '.join(fields) or 'none'}."
            )
        return fields[name]

    def set(self, name: str, value: Any) -> None:
        """Add or replace a field.

        Raises:
            ValueError: Its length differs from that of the other fields.
        """
        others = [field for field in self._fields if field != name]
        if others and len(value) != len(self._fields[others[0]]):
            raise ValueError(
                f"Field '{name}' has length {len(value)}, but these Instances have "
                f"{len(self._fields[others[0]])} objects (field '{others[0]}')."
            )
        self._fields[name] = value

    def has(self, name: str) -> bool:
        """Tell whether there is such a field."""
        return name in self._fields

    def remove(self, name: str) -> None:
        """Remove a field.

        Raises:
            KeyError: There is none.
        """
        self.get(name)
        del self._fields[name]

    def get(self, name: str) -> Any:
        """Return a field.

        Raises:
            KeyError: There is none.
        """
        if name not in self._fields:
            known = ", ".join(self._fields) or "none"
            raise KeyError(f"These Instances have no field '{name}'; they have: {known}.")
        return self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        """Return the fields themselves, by name; changes to the dict change the instances."""
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> "Instances":
        """Return the instances with ``to(...)`` called on every field that has it."""
        return self._with_fields(lambda value: _move(value, *args, **kwargs))

    def __getitem__(self, item: int | slice | Tensor) -> "Instances":
        """Return the chosen objects; an integer gives one object.

        Raises:
            IndexError: The integer is beyond the objects there are.
        """
        if isinstance(item, int):
            count = len(self)
            if not -count <= item < count:
                raise IndexError(f"Object {item} was asked for, but there are {count} instances.")
            item %= count
            item = slice(item, item + 1)
        if isinstance(item, Tensor) and _is_mask_on_device(item, self):
            item = item.nonzero()[:, 0]  # once, and not for each field
        return self._with_fields(lambda value: _choose(value, item))

    def _with_fields(self, change: Callable[[Any], Any]) -> "Instances":
        changed = Instances(self._image_size)
        for name, value in self._fields.items():
            changed.set(name, change(value))
        return changed

    def __len__(self) -> int:
        for value in self._fields.values():
            return _length(value)
        raise NotImplementedError("Instances without fields have no length; set a field first.")

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError("Instances are not iterable; index them or iterate over a field.")

    @staticmethod
    def cat(instance_lists: list["Instances"]) -> "Instances":
        """Join instances of the same image that have the same fields.

        Raises:
            ValueError: The list is empty, or image sizes or field names differ.
            TypeError: A field has a type that cannot be joined.
        """
        if not instance_lists:
            raise ValueError("Instances.cat needs at least one Instances; found an empty list.")
        first = instance_lists[0]
        for other in instance_lists[1:]:
            _require_same_layout(first, other)
        joined = Instances(first.image_size)
        for name in first.get_fields():
            joined.set(name, _join(name, [instances.get(name) for instances in instance_lists]))
        return joined

    def __str__(self) -> str:
        count = len(self) if self._fields else 0
        height, width = self._image_size
        fields = ", ".join(f"{name}: {value}" for name, value in self._fields.items())
        return (
            f"Instances(num_instances={count}, image_height={height}, image_width={width}, "
            f"fields=[{fields}])"
        )

    __repr__ = __str__


def _length(value: Any) -> int:
    # In a trace this may be a tensor; the function `len` would make it a constant.
    return value.__len__()


def _move(value: Any, *args: Any, **kwargs: Any) -> Any:
    if isinstance(value, Tensor):
        return moved(value, *args, **kwargs)
    return value.to(*args, **kwargs) if hasattr(value, "to") else value


def _is_mask_on_device(item: Tensor, instances: Instances) -> bool:
    """Tell whether this says of each object whether it is chosen, where that is waited for."""
    if item.device.type == "cpu" or torch.jit.is_tracing():
        return False
    return item.dtype == torch.bool and item.shape == (len(instances),)


def _choose(value: Any, item: slice | Tensor) -> Any:
    """Index one field; a list cannot be indexed by a tensor, so its positions are looked up."""
    if not isinstance(value, list) or isinstance(item, slice):
        return value[item]
    return [value[position] for position in torch.arange(len(value))[torch.as_tensor(item).cpu()]]


def _require_same_layout(first: Instances, other: Instances) -> None:
    # While a model is traced a comparison of tensors would say what holds for the example only.
    if not torch.jit.is_tracing() and _plain_size(first) != _plain_size(other):
        raise ValueError(
            f"Instances.cat joins objects of one image; found image sizes {_plain_size(first)} "
            f"and {_plain_size(other)}."
        )
    if set(first.get_fields()) != set(other.get_fields()):
        raise ValueError(
            f"Instances.cat needs the same fields everywhere; found {sorted(first.get_fields())} "
            f"and {sorted(other.get_fields())}."
        )


def _plain_size(instances: Instances) -> tuple[float, ...]:
    """Return height and width as numbers; the image size may be a tensor, or two."""
    return tuple(side.item() if isinstance(side, Tensor) else side for side in instances.image_size)


def _join(name: str, values: list[Any]) -> Any:
    if isinstance(values[0], Tensor):
        return torch.cat(values, dim=0)
    if isinstance(values[0], list):
        return list(itertools.chain.from_iterable(values))
    if hasattr(type(values[0]), "cat"):
        return type(values[0]).cat(values)
    raise TypeError(
        f"Field '{name}' is a {type(values[0]).__name__}, which cannot be joined; use a tensor, "
        "a list or a type with a `cat` method."
    )

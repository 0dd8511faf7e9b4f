"""Checking what a file says of itself, which is used to size images and memory."""

from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin

MOST_PIXELS = 100_000
"""Of an edge; also the largest number of detections."""


def require_types(described: Any) -> None:
    """Check the fields of a dataclass against their types, and that sizes are those of images.

    Args:
        described: Its fields are numbers, texts, lists of such, and dataclasses of such fields.

    Raises:
        ValueError: A field is of another type, negative or too large; says which.
    """
    for field in fields(described):
        value = getattr(described, field.name)
        if not _fits(value, field.type):
            raise ValueError(f"its '{field.name}' is {value!r:.60}")
        is_count = field.name == "num_parameters"
        for number in value if isinstance(value, list) else [value]:
            if is_dataclass(number):
                require_types(number)
            elif type(number) is int and not (number >= 0 and (is_count or number <= MOST_PIXELS)):
                raise ValueError(f"its '{field.name}' is {value!r:.60}")


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_fits(one, *get_args(kind)) for one in value)
    if isinstance(kind, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind

"""Reading the fields of an entry: the value, or None and a complaint."""

from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

from d2seg.check_data.findings import Id

MALFORMED = "malformed entry"
UNUSABLE = "unusable number"

LARGEST = 1e12
"""No coordinate and no area is larger than this."""
_ABSURD = f"NaN, infinity or a number above {LARGEST:g}"

_LONGEST_EXCERPT = 60

Complain = Callable[[str, str], None]
"""Takes the kind of a finding and what is wrong."""


def read_segmentation(value: Any, complain: Complain) -> list[list[float]] | dict[str, Any] | None:
    """Return polygons or an RLE of the right types; None if there is none or it is neither."""
    if value is None or value == []:
        return None
    if isinstance(value, dict):
        return _read_rle(value, complain)
    if isinstance(value, list) and all(map(is_real, value)):
        complain(MALFORMED, "has one list of numbers as segmentation; a list of such lists is due.")
        return None
    if not isinstance(value, list) or not all(_is_polygon(polygon) for polygon in value):
        complain(MALFORMED, f"has the segmentation {excerpt(value)}; polygons or RLE are expected.")
        return None
    if not all(map(are_usable, value)):
        complain(UNUSABLE, f"has {_ABSURD} in its segmentation.")
        return None
    return value


def read_id(entry: dict[str, Any], key: str, complain: Complain) -> Id | None:
    """Return the id of an image: a whole number, or a text."""
    value = entry.get(key)
    return value if is_id(value) else read_whole(entry, key, complain)


def read_whole(entry: dict[str, Any], key: str, complain: Complain) -> int | None:
    """Return a whole number; one with a fraction of 0 is taken, but complained of."""
    value = entry.get(key)
    if is_whole(value):
        return value
    complain(MALFORMED, f"has the {key} {excerpt(value)}; a whole number is expected.")
    return int(value) if isinstance(value, float) and value.is_integer() else None


def numbers_of(
    entry: dict[str, Any], key: str, complain: Complain, required: bool = False
) -> list[float] | None:
    """Return the list of finite numbers in a field; None if there is none."""
    value = entry.get(key)
    if value is None and not required:
        return None
    if not isinstance(value, list) or not all(map(is_real, value)):
        complain(MALFORMED, f"has the {key} {excerpt(value)}; a list of numbers is expected.")
        return None
    if not are_usable(value):
        complain(UNUSABLE, f"has {_ABSURD} in its {key}: {excerpt(value)}.")
        return None
    return value


def file_name(entry: dict[str, Any]) -> Any:
    """Return the file name of an image; LVIS gives only its address."""
    address = entry.get("coco_url")
    if "file_name" not in entry and isinstance(address, str):
        return "/".join(address.split("/")[-2:])
    return entry.get("file_name")


def is_id(value: Any) -> TypeGuard[Id]:
    """Tell whether a value can be the id of an image."""
    return is_whole(value) or (isinstance(value, str) and value != "")


def is_whole(value: Any) -> TypeGuard[int]:
    """Tell whether a value is a whole number; true and false are none."""
    return type(value) is int


def is_real(value: Any) -> TypeGuard[float]:
    """Tell whether a value is a number; true and false are none."""
    return type(value) in {int, float}


def are_usable(numbers: Iterable[float]) -> bool:
    """Tell whether no number is NaN, infinite, or larger than anything in an image."""
    return all(abs(number) <= LARGEST for number in numbers)


def excerpt(value: Any) -> str:
    """Return a value as text, cut where it gets long."""
    text = "missing" if value is None else repr(value)
    return text if len(text) <= _LONGEST_EXCERPT else f"{text[:_LONGEST_EXCERPT]}..."


def read_side(entry: dict[str, Any], side: str, complain: Complain) -> int | None:
    """Return the width or height of an image in pixels."""
    value = read_whole(entry, side, complain)
    if value is not None and not 0 < value <= LARGEST:
        complain(MALFORMED, f"has the {side} {value}; a number of pixels is expected.")
        return None
    return value


def read_iscrowd(entry: dict[str, Any], complain: Complain) -> int | None:
    """Return 0 or 1; None if the entry says neither."""
    value = entry.get("iscrowd")
    if value is None:
        return None
    if value not in (0, 1):
        complain(MALFORMED, f"has the iscrowd {excerpt(value)}; 0 or 1 is expected.")
        return None
    return int(value)


def _read_rle(value: dict[str, Any], complain: Complain) -> dict[str, Any] | None:
    size, counts = value.get("size"), value.get("counts")
    size_fits = isinstance(size, list) and len(size) == 2 and all(map(is_whole, size))
    counts_fit = isinstance(counts, str) or (
        isinstance(counts, list) and all(map(is_whole, counts))
    )
    if not size_fits or not counts_fit:
        complain(
            MALFORMED,
            f"has an RLE with size {excerpt(size)} and counts {excerpt(counts)}; two whole "
            "numbers, and a text or a list of whole numbers, are expected.",
        )
        return None
    return value


def _is_polygon(value: Any) -> bool:
    return isinstance(value, list) and set(map(type, value)) <= {int, float}

"""What a correction changed, to be told."""

from typing import Any

Entry = dict[str, Any]
"""An image, category or annotation as it is in the file."""

WHOLE = "whole numbers written without a fraction"
_WHOLE_FIELDS = ("id", "image_id", "category_id", "width", "height")


class Changes:
    """Counts changes of one kind, and keeps the first as an example."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._examples: dict[str, str] = {}

    def add(self, what: str, example: str) -> None:
        """Count a change.

        Args:
            what: What was done, in words that fit any number: ``images dropped: file missing``.
            example: What it was done to.
        """
        self._counts[what] = self._counts.get(what, 0) + 1
        self._examples.setdefault(what, example)

    def lines(self) -> list[str]:
        """Return one line for each kind of change, in the order in which they first happened."""
        return [
            f"{what}: {count} (such as {self._examples[what]})"
            for what, count in self._counts.items()
        ]


def has_fractions(entry: Entry) -> bool:
    """Tell whether a number that should be whole is written with a fraction, as in 1.0."""
    return any(isinstance(entry.get(field), float) for field in _WHOLE_FIELDS)


class DroppedError(Exception):
    """An annotation cannot be kept; the message says why, in words that fit any number."""

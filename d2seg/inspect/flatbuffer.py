"""FlatBuffers, the format of ``.pte`` files, read without a schema compiler.

A table begins with the distance to a list of where its fields are, so a field is found by its
number in the schema, and one that a newer writer added is passed over.
"""

import struct
from collections.abc import Iterator
from typing import Any


class Table:
    """A table of a buffer.

    Every access raises ``struct.error`` or ``IndexError`` where it would leave the buffer.

    Args:
        data: The buffer: ``bytes``, or a file mapped into memory.
        position: Where the table begins.
    """

    def __init__(self, data: Any, position: int) -> None:
        self._data = data
        self._position = position
        self._fields = position - self._read("<i", position)

    @classmethod
    def root(cls, data: Any) -> "Table":
        """Return the outermost table."""
        (position,) = struct.unpack_from("<I", data, 0)
        return cls(data, position)

    def text(self, field: int) -> str:
        """Return a string; an empty one where the field is absent."""
        start, count = self._vector(field)
        if count > len(self._data) - start:
            raise IndexError(f"a text of {count} bytes leaves the buffer")
        return bytes(self._data[start : start + count]).decode()

    def tables(self, field: int) -> Iterator["Table"]:
        """Go through a list of tables."""
        start, count = self._vector(field)
        for place in range(start, start + 4 * count, 4):
            yield Table(self._data, place + self._read("<I", place))

    def integers(self, field: int) -> list[int]:
        """Return a list of 64-bit integers."""
        start, count = self._vector(field)
        return [self._read("<q", start + 8 * index) for index in range(count)]

    def _vector(self, field: int) -> tuple[int, int]:
        """Return where the values of a list begin, and how many there are."""
        place = self._place(field)
        if place == 0:
            return 0, 0
        place += self._read("<I", place)
        return place + 4, self._read("<I", place)

    def _place(self, field: int) -> int:
        """Return where a field is; 0 where it is absent."""
        entry = 4 + 2 * field
        if entry >= self._read("<H", self._fields):
            return 0
        offset = self._read("<H", self._fields + entry)
        return self._position + offset if offset else 0

    def _read(self, kind: str, place: int) -> int:
        if place < 0:  # which would count from the end
            raise IndexError(f"offset {place} leaves the buffer")
        (value,) = struct.unpack_from(kind, self._data, place)
        return int(value)

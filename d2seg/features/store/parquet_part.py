"""Parquet parts: the rows of some images, and in the file's metadata what these images are."""

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from d2seg.core.runtime.untrusted.parts import OversizedError, require_plausible
from d2seg.features.store.parquet_table import import_pyarrow

MOST_TIMES_ITS_SIZE = 1000

METADATA_KEY = b"d2seg.features"
PATTERN = "objects-*.parquet"

Result = TypeVar("Result")


class About(NamedTuple):
    """What a part knows about an image besides its rows."""

    objects: int
    """The number of its rows; may be 0."""
    description: dict[str, Any]


class Part(NamedTuple):
    """Some images: their rows one after the other, and what else is known, in the same order."""

    table: Any
    images: dict[str, About]

    def without(self, names: Collection[str]) -> "Part":
        """Return the part without some of its images."""
        pa, _ = import_pyarrow()
        kept = {name: about for name, about in self.images.items() if name not in names}
        tables = [table for name, table in self.tables() if name in kept]
        return Part(pa.concat_tables([self.table.slice(0, 0), *tables]), kept)

    def tables(self) -> list[tuple[str, Any]]:
        """Return each image's name and its rows."""
        start, tables = 0, []
        for name, about in self.images.items():
            tables.append((name, self.table.slice(start, about.objects)))
            start += about.objects
        return tables


def write_part(path: Path, part: Part) -> None:
    """Write a part to a file, not atomically."""
    _, parquet = import_pyarrow()
    metadata = {METADATA_KEY: json.dumps(_pack(part.images))}
    parquet.write_table(part.table.replace_schema_metadata(metadata), path)


def read_part(path: Path) -> Part:
    """Read a part.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
        ValueError: It is something else, or damaged.
    """
    return Part(_read(path, _read_plausible), read_images(path))


def read_images(path: Path) -> dict[str, About]:
    """Read what a part knows about its images, without its rows.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
        ValueError: It is something else, or damaged.
    """
    metadata = read_schema(path).metadata or {}
    if METADATA_KEY not in metadata:
        raise ValueError(
            f"'{path}' is a Parquet file without a list of images; expected one that "
            "d2seg.features.open_store wrote."
        )
    try:
        return _unpack(json.loads(metadata[METADATA_KEY]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"The list of images in '{path}' is damaged ({error}).") from error


def read_schema(path: Path) -> Any:
    """Read the schema of a Parquet file.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
        ValueError: It is something else, or damaged.
    """
    return _read(path, lambda file: file.schema_arrow)


def _read(path: Path, read: Callable[[Any], Result]) -> Result:
    pa, parquet = import_pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            return read(file)
    except OversizedError as error:
        raise ValueError(f"'{path}' {error}.") from error
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"'{path}' is not a Parquet file, or is damaged ({reason}).") from error


def _read_plausible(file: Any) -> Any:
    """Read the rows, unless a few bytes stand for very many of them."""
    metadata = file.metadata
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    stored = sum(
        group.column(index).total_compressed_size
        for group in groups
        for index in range(group.num_columns)
    )
    rows = sum(group.num_rows for group in groups)
    row_bytes = sum(_value_bytes(field.type) for field in file.schema_arrow)
    require_plausible(stored, rows * row_bytes, MOST_TIMES_ITS_SIZE)
    return file.read()


def _value_bytes(kind: Any) -> int:
    """Return about how many bytes a value of a column takes."""
    if hasattr(kind, "list_size"):
        return int(kind.list_size) * _value_bytes(kind.value_type)
    try:
        return int(kind.bit_width) // 8 or 1
    except ValueError:  # text, which has no fixed width
        return 16


def _pack(images: Mapping[str, About]) -> dict[str, Any]:
    """Keep what all descriptions of a part share once."""
    descriptions = [about.description for about in images.values()]
    shared = {
        key: value
        for key, value in (descriptions[0] if descriptions else {}).items()
        if all(key in other and other[key] == value for other in descriptions)
    }
    own = {
        name: [about.objects, {k: v for k, v in about.description.items() if k not in shared}]
        for name, about in images.items()
    }
    return {"shared": shared, "images": own}


def _unpack(packed: Mapping[str, Any]) -> dict[str, About]:
    return {
        name: About(objects, {**packed["shared"], **own})
        for name, (objects, own) in packed["images"].items()
    }

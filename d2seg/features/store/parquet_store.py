"""Tables with one row per object, for pandas and DuckDB."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from d2seg.features.store.base import Features, FeatureStore
from d2seg.features.store.object_rows import check_rows, describe_vectors, object_vectors
from d2seg.features.store.parquet_part import (
    PATTERN,
    About,
    Part,
    read_images,
    read_part,
    read_schema,
    write_part,
)
from d2seg.features.store.parquet_table import import_pyarrow, make_table
from d2seg.features.store.unfinished import move_when_complete, remove_unfinished_work

IMAGES_PER_PART = 256
FIRST_COLUMNS = 11


class ParquetStore(FeatureStore):
    """``objects-00000.parquet``, ...: a row per object, a column per stage.

    The columns are ``image``, ``object`` (row i of the image's tensors), ``x1 y1 x2 y2`` (pixels of
    the original image), ``class``, ``class_name``, ``score``, of annotated boxes ``annotation_id``
    and ``annotation_class`` (the other three are the model's), and, for each stage, a list of
    numbers: stages of shape (N, C, S, S) are averaged over their cells to C numbers, others
    flattened. Further tensors ``instances.*`` are left out. A part is written after every 256
    images and on closing; an image without objects has no row, but is in its part's list of images.

    ``pandas.read_parquet(folder)`` and DuckDB's ``'folder/*.parquet'`` read all parts.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
        ValueError: There is a part that is damaged, or somebody else's.
    """

    def __init__(self, folder: str | Path, *, half: bool = False) -> None:
        self._arrow, _ = import_pyarrow()
        super().__init__(folder, half=half)
        remove_unfinished_work(self.folder)
        self._parts = {path: set(read_images(path)) for path in sorted(folder_parts(self.folder))}
        self._schema = read_schema(next(iter(self._parts))) if self._parts else None
        self._waiting: dict[str, tuple[Any, About]] = {}

    def complete(self) -> set[str]:
        """Return the names of the images in written parts."""
        return set().union(*self._parts.values())

    @property
    def summary(self) -> str:
        """Where the parts are."""
        return f"{self.folder}/{PATTERN}: tables with one row per object"

    def check(self, tensors: Mapping[str, Mapping[str, Any]]) -> None:
        """Make sure that tensors have a row per object; see :func:`check_rows`."""
        check_rows(tensors)

    def flush(self) -> None:
        """Write the images that are waiting to a part; earlier ones of their names leave theirs."""
        if not self._waiting:
            return
        new = self._next_path()
        changed = {
            path: read_part(path).without(self._waiting.keys())
            for path, names in self._parts.items()
            if not names.isdisjoint(self._waiting)
        }
        changed[new] = self._waiting_part()
        self._write_parts(changed)
        self._waiting = {}

    def _write(self, name: str, tensors: Features, description: dict[str, Any]) -> None:
        check_rows(description["tensors"])
        vectors = self._precise(object_vectors(tensors, name), name)
        about = {**description, "tensors": describe_vectors(description["tensors"])}
        table = make_table(name, tensors, vectors, about)
        self._check_columns(table.schema)
        self._waiting[name] = (table, About(table.num_rows, about))
        if len(self._waiting) >= IMAGES_PER_PART:
            self.flush()

    def _check_columns(self, schema: Any) -> None:
        if self._schema is None:
            self._schema = schema
        if not self._schema.equals(schema):
            there, new = (_stages_of(each) for each in (self._schema, schema))
            raise ValueError(
                f"The tables in '{self.folder}' have the stages {there}, these features {new}; "
                "write them to another folder."
            )

    def _waiting_part(self) -> Part:
        table = self._arrow.concat_tables([table for table, _ in self._waiting.values()])
        return Part(table, {name: about for name, (_, about) in self._waiting.items()})

    def _next_path(self) -> Path:
        numbers = [int(path.stem.partition("-")[2]) for path in self._parts]
        return self.folder / f"objects-{max(numbers, default=-1) + 1:05d}.parquet"

    def _write_parts(self, parts: Mapping[Path, Part]) -> None:
        """Write all of them before the first appears; images move from one part to another."""
        emptied = [path for path, part in parts.items() if not part.images]
        with ExitStack() as replacing:
            for path in sorted(parts.keys() - emptied, reverse=True):  # the first appears last
                write_part(
                    replacing.enter_context(move_when_complete(path, self.folder)), parts[path]
                )
            for path in emptied:
                path.unlink()
        for path, part in parts.items():
            self._parts[path] = set(part.images)
        for path in emptied:
            del self._parts[path]


def folder_parts(folder: Path) -> list[Path]:
    """Return the parts in a folder, in their order."""
    return sorted(folder.glob(PATTERN))


def _stages_of(schema: Any) -> str:
    fields = list(schema)[FIRST_COLUMNS:]
    return ", ".join(f"{f.name} ({f.type.list_size} {f.type.value_type})" for f in fields) or "-"

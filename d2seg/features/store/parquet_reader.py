"""Reading tables of objects back, image by image."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from d2seg.features.store.base import ImageFeatures
from d2seg.features.store.describe import complete_description
from d2seg.features.store.parquet_part import read_images, read_part
from d2seg.features.store.parquet_table import read_rows


class ParquetFolder(Mapping[str, ImageFeatures]):
    """The images of Parquet parts by name, in the order of writing, read when asked for.

    The boxes are in pixels of the network input again, as in the other formats. One part at a time
    is held in memory, so go through the images in order.

    Args:
        paths: The parts.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
        ValueError: A file is something else, or damaged.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._part_of = {name: path for path in paths for name in read_images(path)}
        self._opened: tuple[Path, dict[str, Any]] | None = None

    def __getitem__(self, name: str) -> ImageFeatures:
        rows, description = self._open(self._part_of[name])[name]
        tensors = read_rows(rows, list(description["tensors"]), description)
        return tensors, complete_description(tensors, description)

    def __iter__(self) -> Iterator[str]:
        return iter(self._part_of)

    def __len__(self) -> int:
        return len(self._part_of)

    def _open(self, path: Path) -> dict[str, Any]:
        if self._opened is None or self._opened[0] != path:
            part = read_part(path)
            images = {name: (rows, part.images[name].description) for name, rows in part.tables()}
            self._opened = (path, images)
        return self._opened[1]

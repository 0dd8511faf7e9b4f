"""Opening a place for features: to write them, and to read them back."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from d2seg.features.store.base import FeatureStore, ImageFeatures
from d2seg.features.store.files import SUFFIX, FileFolder, FileStore, load_file
from d2seg.features.store.parquet_part import PATTERN
from d2seg.features.store.parquet_reader import ParquetFolder
from d2seg.features.store.parquet_store import ParquetStore, folder_parts
from d2seg.features.store.zarr_reader import METADATA_FILE, ZarrFolder
from d2seg.features.store.zarr_store import STORE, ZarrStore


class Format(NamedTuple):
    """A format of features: how to write it, the names it has in a folder, how to read it."""

    store: Callable[..., FeatureStore]
    pattern: str
    read: Callable[[Path], Mapping[str, ImageFeatures]]


FORMATS = {
    "safetensors": Format(FileStore, f"[!.]*{SUFFIX}", FileFolder),
    "zarr": Format(ZarrStore, STORE, lambda folder: ZarrFolder(folder / STORE)),
    "parquet": Format(ParquetStore, PATTERN, lambda folder: ParquetFolder(folder_parts(folder))),
}


def open_store(folder: str | Path, format: str, *, half: bool = False) -> FeatureStore:
    """Open a folder to write features of many images into it.

    Args:
        folder: Made if need be; what it holds already stays.
        format: ``safetensors`` (two files per image), ``zarr`` (one store, ``features.zarr``) or
            ``parquet`` (a table with one row per object: ``objects-00000.parquet``, ...).
        half: Store floating point values as float16; boxes, scores and keypoints stay as they are.

    Returns:
        The open store, a context manager.

    Raises:
        ValueError: There is no such format, or the folder holds something else under these names.
        ModuleNotFoundError: The format needs a package that is not installed.
    """
    if format not in FORMATS:
        raise ValueError(
            f"Unknown format of features '{format}'; expected one of: {', '.join(FORMATS)}."
        )
    others = [name for name in _formats_in(Path(folder)) if name != format]
    if others:
        raise ValueError(
            f"'{folder}' holds features as {' and '.join(others)}; write {format} to a folder of "
            "its own."
        )
    return FORMATS[format].store(folder, half=half)


def load(path: str | Path) -> ImageFeatures | Mapping[str, ImageFeatures]:
    """Read features back.

    Args:
        path: A ``.safetensors`` file, or what :func:`load_folder` takes.

    Returns:
        Of a ``.safetensors`` file: the tensors by name, on the CPU, and the description. Else a
        mapping from the names of images to such pairs; each is read when it is asked for.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: It is something else, or damaged, or holds several formats.
        ModuleNotFoundError: The format needs a package that is not installed.
    """
    path = Path(path)
    return load_file(path) if path.suffix == SUFFIX else load_folder(path)


def load_folder(path: str | Path) -> Mapping[str, ImageFeatures]:
    """Open the features of many images for reading.

    Args:
        path: A folder that :func:`open_store` filled, a ``features.zarr``, or a ``.parquet`` part.

    Returns:
        A mapping from the names of images to their tensors and description. It holds the images
        that were complete when it was opened.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: It is something else, or damaged, or holds several formats.
        ModuleNotFoundError: The format needs a package that is not installed.
    """
    path = Path(path)
    if (path / METADATA_FILE).is_file():
        return ZarrFolder(path)
    if not path.exists():
        raise FileNotFoundError(f"No features at '{path}'.")
    if path.is_file() and path.suffix == ".parquet":
        return ParquetFolder([path])
    found = _formats_in(path)
    if not found:
        raise ValueError(
            f"'{path}' holds no features; expected a .safetensors or .parquet file, a {STORE}, or "
            "a folder that d2seg.features.open_store filled."
        )
    if len(found) > 1:
        raise ValueError(
            f"'{path}' holds features as {' and '.join(found)}; keep each format in a folder of "
            "its own."
        )
    return FORMATS[found[0]].read(path)


def _formats_in(folder: Path) -> list[str]:
    """Return the formats that there are features of in a folder."""
    return [name for name, format in FORMATS.items() if any(folder.glob(format.pattern))]

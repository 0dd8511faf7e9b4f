"""Reading a Zarr store of features back."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2seg.core.runtime.untrusted.parts import OversizedError, require_plausible
from d2seg.features.store.base import ImageFeatures
from d2seg.features.store.extras import import_zarr

MARK = {"d2seg": "features", "version": 1}
"""The attributes of a store of features."""

METADATA_FILE = "zarr.json"

MOST_TIMES_ITS_SIZE = 1000
"""Features are packed to a tenth, and all zeros to a few hundredths of a percent."""

_CODECS = {"bytes", "zstd"}
"""What the store packs arrays with."""


class ZarrFolder(Mapping[str, ImageFeatures]):
    """The complete images of a Zarr store by name, in alphabetic order, read when asked for.

    Args:
        path: The store, such as ``features.zarr``.

    Raises:
        ModuleNotFoundError: zarr 3 is not installed.
        ValueError: It is not a store of features.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = open_root(path)
        self._names = dict.fromkeys(sorted(complete_groups(path)))

    def __getitem__(self, name: str) -> ImageFeatures:
        if name not in self._names:
            raise KeyError(name)
        try:
            group = self._root[name]
            description = dict(group.attrs)
            tensors = {key: _read_array(group[key]) for key in description["tensors"]}
        except OversizedError as error:
            raise ValueError(f"Image '{name}' of '{self.path}' {error}.") from error
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"Image '{name}' of '{self.path}' is damaged ({error}).") from error
        return tensors, description

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def open_root(path: Path) -> Any:
    """Open a store of features for reading.

    Raises:
        ModuleNotFoundError: zarr 3 is not installed.
        ValueError: It is something else, or damaged.
    """
    zarr = import_zarr()
    try:
        # Not format 2, whose codecs include Python's pickle.
        root = zarr.open_group(path, mode="r", zarr_format=3)
        if root.attrs.asdict() == MARK:
            return root
    except (OSError, KeyError, TypeError, ValueError):
        pass
    raise ValueError(
        f"'{path}' is not a Zarr store of features, or is damaged; expected one that "
        "d2seg.features.open_store wrote."
    )


def complete_groups(path: Path) -> set[str]:
    """Return the names of the groups of a store that have all arrays they describe."""
    return {folder.name for folder in path.iterdir() if _is_complete(folder)}


def _is_complete(group: Path) -> bool:
    try:
        about = json.loads((group / METADATA_FILE).read_text(encoding="utf-8"))
        names = about["attributes"]["tensors"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return all((group / name / METADATA_FILE).is_file() for name in names)


def _read_array(array: Any) -> Tensor:
    unknown = {codec.to_dict()["name"] for codec in array.metadata.codecs} - _CODECS
    if unknown or array.dtype.kind not in "biuf":
        raise ValueError(f"array {array.basename} is of {array.dtype}, packed by {unknown or ''}")
    require_plausible(array.nbytes_stored(), array.nbytes, MOST_TIMES_ITS_SIZE)
    if array.nchunks_initialized < array.nchunks:
        raise ValueError(f"array {array.basename} lacks chunks")
    return torch.from_numpy(np.array(array[...]))

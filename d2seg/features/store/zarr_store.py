"""One Zarr store with a group per image, for those who read parts of large features."""

from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from d2seg.features.store.base import Features, FeatureStore
from d2seg.features.store.describe import complete_description
from d2seg.features.store.extras import import_zarr
from d2seg.features.store.unfinished import move_when_complete, remove_unfinished_work
from d2seg.features.store.zarr_reader import MARK, complete_groups, open_root

STORE = "features.zarr"
CHUNK_BYTES = 4 * 2**20


class ZarrStore(FeatureStore):
    """``features.zarr``: a group per image, an array per tensor, the description as attributes.

    An array up to 4 MiB is one chunk; a larger one is cut along its first axis. Chunks are
    compressed with Zarr's default. NumPy has no bfloat16: such tensors are stored as float32.

    Raises:
        ModuleNotFoundError: zarr 3 is not installed.
        ValueError: There is a ``features.zarr`` of somebody else.
    """

    def __init__(self, folder: str | Path, *, half: bool = False) -> None:
        self._zarr = import_zarr()
        super().__init__(folder, half=half)
        self.path = self.folder / STORE
        remove_unfinished_work(self.folder)
        if self.path.exists():
            open_root(self.path)
        else:
            with move_when_complete(self.path, self.folder) as new:
                self._zarr.create_group(new, attributes=MARK)

    def complete(self) -> set[str]:
        """Return the names of the groups that have all arrays they describe."""
        return complete_groups(self.path)

    @property
    def summary(self) -> str:
        """Where the store is."""
        return f"{self.path}: a Zarr store with one group per image"

    def _write(self, name: str, tensors: Features, description: dict[str, Any]) -> None:
        precise = self._precise(tensors, name)
        stored = {key: _as_numpy_knows_it(tensor) for key, tensor in precise.items()}
        with move_when_complete(self.path / name, self.folder) as new:
            about = complete_description(stored, description)
            group = self._zarr.create_group(new, attributes=about)
            for key, tensor in stored.items():
                _write_array(group, key, tensor)


def chunk_shape(shape: tuple[int, ...], item_bytes: int) -> tuple[int, ...]:
    """Cut along the first axis, so that a chunk has at most 4 MiB or is one row.

    Args:
        shape: Of the array; may hold zeros or be empty.
        item_bytes: Of one value.

    Returns:
        The shape of a chunk: at least 1 along each axis.
    """
    if not shape:
        return ()
    rest = tuple(max(size, 1) for size in shape[1:])
    rows = max(CHUNK_BYTES // (prod(rest) * item_bytes), 1)
    return (max(min(rows, shape[0]), 1), *rest)


def _write_array(group: Any, name: str, tensor: Tensor) -> None:
    values = tensor.numpy()
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunk_shape(values.shape, values.itemsize),
        config={"write_empty_chunks": True},  # so that a chunk that was lost is noticed
    )
    array[...] = values


def _as_numpy_knows_it(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor

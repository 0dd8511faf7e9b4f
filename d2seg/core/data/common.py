"""Data sets of any length: held as bytes, mapped, sharded, grouped."""

import copy
import itertools
import logging
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from d2seg.core.runtime.serialize import PicklableWrapper

__all__ = ["AspectRatioGroupedDataset", "DatasetFromList", "MapDataset", "ToIterableDataset"]

logger = logging.getLogger(__name__)

_WARN_AFTER_FAILURES = 3


class MapDataset(Dataset):
    """Apply a function to every element; what it maps to None is left out.

    Of a data set that is indexed, another element comes in its place, chosen at random. Of an
    iterable data set, nothing comes; the result is an ``IterableDataset`` then.
    """

    def __new__(cls, dataset: Any = None, map_func: Callable[[Any], Any] | None = None) -> Any:
        """Make the kind of data set that fits ``dataset``."""
        if isinstance(dataset, IterableDataset):
            return _MapIterableDataset(dataset, map_func)
        return super().__new__(cls)

    def __init__(self, dataset: Any, map_func: Callable[[Any], Any]) -> None:
        """Describe the mapping.

        Args:
            dataset: Anything with a length that can be indexed, or an ``IterableDataset``.
            map_func: Applied when an element is asked for.
        """
        self._dataset = dataset
        self._map_func = PicklableWrapper(map_func)
        self._rng = random.Random(42)
        self._usable = set(range(len(dataset)))

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, idx: int) -> Any:
        """Return an element, or another one if it is mapped to None.

        Raises:
            RuntimeError: Every element is mapped to None.
        """
        current = int(idx)
        for failures in itertools.count(1):
            value = self._map_func(self._dataset[current])
            if value is not None:
                self._usable.add(current)
                return value
            self._usable.discard(current)
            if failures == _WARN_AFTER_FAILURES:
                logger.warning("Nothing usable yet in place of element %d after %d.", idx, failures)
            current = self._another()

    def _another(self) -> int:
        if not self._usable:
            raise RuntimeError(
                f"The mapper returned None for every one of the {len(self)} elements of the data "
                "set; at least one has to be usable."
            )
        return self._rng.choice(sorted(self._usable))


class _MapIterableDataset(IterableDataset):
    """Apply a function to every element of an iterable data set; leave out what it maps to None."""

    def __init__(self, dataset: IterableDataset, map_func: Any) -> None:
        self._dataset = dataset
        self._map_func = PicklableWrapper(map_func)

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        mapped = map(self._map_func, self._dataset)
        return (value for value in mapped if value is not None)


class DatasetFromList(Dataset):
    """A list as a data set, held as bytes.

    A list of many small objects would be copied into every worker process, because counting
    references writes to their memory; one buffer is shared.
    """

    def __init__(
        self,
        lst: Sequence[Any],
        copy: bool = True,
        serialize: bool | Callable[[Sequence[Any]], Sequence[Any]] = True,
    ) -> None:
        """Hold a list.

        Args:
            lst: Elements that can be pickled.
            copy: Without ``serialize``: return copies, so that users may change what they get.
            serialize: Hold bytes. A function of one's own turns the list into what is held.
        """
        self._copy = copy
        self._serialize = bool(serialize)
        if callable(serialize):
            self._elements = serialize(lst)
        else:
            self._elements = _PickledList(lst) if serialize else lst

    def __len__(self) -> int:
        return len(self._elements)

    def __getitem__(self, idx: int) -> Any:
        """Return an element; a new object unless neither copied nor held as bytes."""
        element = self._elements[idx]
        return copy.deepcopy(element) if self._copy and not self._serialize else element


class _PickledList(Sequence[Any]):
    """Elements as one tensor of bytes, which worker processes share however they are started."""

    def __init__(self, elements: Sequence[Any]) -> None:
        pickles = [pickle.dumps(element, protocol=pickle.HIGHEST_PROTOCOL) for element in elements]
        self._ends = torch.tensor([len(data) for data in pickles], dtype=torch.int64).cumsum(dim=0)
        joined = np.frombuffer(bytearray(b"".join(pickles)), dtype=np.uint8)
        self._bytes: Tensor = torch.from_numpy(joined)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, idx: Any) -> Any:
        position = range(len(self))[idx]
        start = 0 if position == 0 else int(self._ends[position - 1])
        return pickle.loads(self._bytes[start : int(self._ends[position])].numpy().data)


class ToIterableDataset(IterableDataset):
    """The elements of an indexed data set in the order of a sampler."""

    def __init__(
        self,
        dataset: Any,
        sampler: Iterable[int],
        shard_sampler: bool = True,
        shard_chunk_size: int = 1,
    ) -> None:
        """Describe the order.

        Args:
            dataset: Anything that can be indexed.
            sampler: The indices, the same in every worker process.
            shard_sampler: Give each worker a part of the indices. False if the sampler itself gives
                every worker other indices.
            shard_chunk_size: So many consecutive indices go to the same worker; the batch size
                keeps batches together.

        Raises:
            TypeError: The data set is iterable already.
        """
        if isinstance(dataset, IterableDataset):
            raise TypeError("ToIterableDataset is for indexed data sets; this one is iterable.")
        self.dataset = dataset
        self.sampler = sampler
        self.shard_sampler = shard_sampler
        self.shard_chunk_size = shard_chunk_size

    def __iter__(self) -> Iterator[Any]:
        indices = iter(self.sampler)
        if self.shard_sampler:
            indices = _shard_of_worker(indices, self.shard_chunk_size)
        return (self.dataset[index] for index in indices)

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]


class AspectRatioGroupedDataset(IterableDataset):
    """Batches of images that are all wide or all high, so that little is padded.

    Elements are dicts with ``width`` and ``height``. Iterating goes on where it was left, and what
    does not fill a batch waits for the next time.
    """

    def __init__(self, dataset: Iterable[dict[str, Any]], batch_size: int) -> None:
        """Describe the batches.

        Args:
            dataset: Where the elements come from; usually without an end.
            batch_size: How many make a batch.
        """
        self.dataset = dataset
        self.batch_size = batch_size
        self._buckets: list[list[dict[str, Any]]] = [[], []]

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        for image in self.dataset:
            kind = 0 if image["width"] > image["height"] else 1
            self._buckets[kind].append(image)
            if len(self._buckets[kind]) == self.batch_size:
                batch, self._buckets[kind] = self._buckets[kind], []
                yield batch


def _shard_of_worker(indices: Iterator[int], chunk_size: int) -> Iterator[int]:
    """Keep the chunks of this worker process of a data loader; all of them outside of one."""
    worker = get_worker_info()
    if worker is None or worker.num_workers == 1:
        yield from indices
        return
    for number in itertools.count():
        chunk = list(itertools.islice(indices, chunk_size))
        if not chunk:
            return
        if number % worker.num_workers == worker.id:
            yield from chunk

"""Orders that processes share: each goes through its own part of the data set."""

import itertools
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler

from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.runtime import comm

logger = logging.getLogger(__name__)


class TrainingSampler(Sampler[int]):
    """An endless order: all indices, shuffled anew, again and again.

    All processes together go through one order; process r of n takes every n-th index from the
    r-th on.
    """

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None) -> None:
        """Describe the order.

        Args:
            size: Length of the data set.
            shuffle: Shuffle each time.
            seed: Of the shuffling, the same in every process; None draws one from numpy's generator
                and shares it.

        Raises:
            TypeError: ``size`` is not an integer.
            ValueError: There is nothing to go through.
        """
        _require_size(size, "TrainingSampler")
        self._size = size
        self._shuffle = shuffle
        self._seed = _shared_seed(seed)
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[int]:
        yield from itertools.islice(self._infinite_indices(), self._rank, None, self._world_size)

    def _infinite_indices(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed)
        while True:
            yield from self._epoch_indices(generator).tolist()

    def _epoch_indices(self, generator: torch.Generator) -> Tensor:
        if self._shuffle:
            return torch.randperm(self._size, generator=generator)
        return torch.arange(self._size)


class RandomSubsetTrainingSampler(TrainingSampler):
    """An endless order of a part of the indices, chosen at random once."""

    def __init__(
        self,
        size: int,
        subset_ratio: float,
        shuffle: bool = True,
        seed_shuffle: int | None = None,
        seed_subset: int | None = None,
    ) -> None:
        """Describe the order.

        Args:
            size: Length of the data set.
            subset_ratio: Which share of it is used, above 0 and at most 1.
            shuffle: Shuffle each time.
            seed_shuffle: Of the shuffling; as ``seed`` of :class:`TrainingSampler`.
            seed_subset: Of the choice; likewise.

        Raises:
            ValueError: The share is not in that range, or of so few that none is left.
        """
        super().__init__(size=size, shuffle=shuffle, seed=seed_shuffle)
        self._size_subset = int(size * subset_ratio)
        if not 0.0 < subset_ratio <= 1.0 or self._size_subset == 0:
            raise InvalidArgumentError(
                "subset_ratio has to be above 0, at most 1, and leave at least one element; "
                f"{subset_ratio} of {size} does not."
            )
        generator = torch.Generator().manual_seed(_shared_seed(seed_subset))
        self._indices_subset = torch.randperm(size, generator=generator)[: self._size_subset]
        logger.info("Training on %d of %d elements.", self._size_subset, size)

    def _epoch_indices(self, generator: torch.Generator) -> Tensor:
        if not self._shuffle:
            return self._indices_subset
        return self._indices_subset[torch.randperm(self._size_subset, generator=generator)]


class RepeatFactorTrainingSampler(Sampler[int]):
    """An endless order in which images of rare categories come more often (LVIS, arXiv:1908.03195).

    A factor of 2.3 means twice, and three times in 3 of 10 rounds.
    """

    def __init__(
        self, repeat_factors: Tensor, *, shuffle: bool = True, seed: int | None = None
    ) -> None:
        """Describe the order.

        Args:
            repeat_factors: (N,) float, at least 1 by the paper: how often each element comes in one
                round.
            shuffle: Shuffle each round.
            seed: As in :class:`TrainingSampler`.
        """
        self._shuffle = shuffle
        self._seed = _shared_seed(seed)
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()
        self._whole = torch.floor(repeat_factors).to(torch.int64)
        self._fraction = repeat_factors - self._whole

    @staticmethod
    def repeat_factors_from_category_frequency(
        dataset_dicts: Sequence[dict[str, Any]], repeat_thresh: float, sqrt: bool = True
    ) -> Tensor:
        """Compute how often images are to come, by their rarest category.

        Args:
            dataset_dicts: Images with ``annotations``.
            repeat_thresh: Categories that are in a larger share of the images are not rare.
            sqrt: Factors grow with the square root of the rarity, as in the paper; otherwise with
                the rarity.

        Returns:
            (N,) float32: max over an image's categories of max(1, sqrt(thresh / frequency)); 1 for
            images without annotations.
        """
        categories = [
            {annotation["category_id"] for annotation in image["annotations"]}
            for image in dataset_dicts
        ]
        counts = Counter(itertools.chain.from_iterable(categories))
        factors = {
            category: _repeat_factor(count / len(dataset_dicts), repeat_thresh, sqrt)
            for category, count in counts.items()
        }
        return torch.tensor(
            [max((factors[category] for category in ids), default=1.0) for ids in categories],
            dtype=torch.float32,
        )

    def __iter__(self) -> Iterator[int]:
        yield from itertools.islice(self._infinite_indices(), self._rank, None, self._world_size)

    def _infinite_indices(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed)
        while True:
            extra = torch.rand(len(self._fraction), generator=generator) < self._fraction
            indices = torch.arange(len(extra)).repeat_interleave(self._whole + extra)
            if self._shuffle:
                indices = indices[torch.randperm(len(indices), generator=generator)]
            yield from indices.tolist()


class InferenceSampler(Sampler[int]):
    """Every index once; each process takes one range of them, of nearly the same length."""

    def __init__(self, size: int) -> None:
        """Describe the order.

        Args:
            size: Length of the data set.

        Raises:
            TypeError: It is not an integer.
            ValueError: There is nothing to go through.
        """
        _require_size(size, "InferenceSampler")
        self._size = size
        self._local_indices = self._get_local_indices(size, comm.get_world_size(), comm.get_rank())

    @staticmethod
    def _get_local_indices(total_size: int, world_size: int, rank: int) -> range:
        """Return the range of one process; the first ones have one more if it does not divide."""
        size, left = divmod(total_size, world_size)
        start = rank * size + min(rank, left)
        return range(start, start + size + (rank < left))

    def __iter__(self) -> Iterator[int]:
        yield from self._local_indices

    def __len__(self) -> int:
        return len(self._local_indices)


def _repeat_factor(frequency: float, repeat_thresh: float, sqrt: bool) -> float:
    rarity = repeat_thresh / frequency
    return max(1.0, math.sqrt(rarity) if sqrt else rarity)


def _shared_seed(seed: int | None) -> int:
    """Return the seed, or one that process 0 draws for all."""
    return comm.shared_random_seed() if seed is None else int(seed)


def _require_size(size: int, sampler: str) -> None:
    if not isinstance(size, int):
        raise TypeError(f"{sampler} needs the length of a data set; found {size!r}.")
    if size <= 0:
        raise InvalidArgumentError(f"{sampler} needs at least one element; found {size}.")

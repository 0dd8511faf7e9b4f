"""Batches of elements that belong to the same group."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from torch.utils.data import BatchSampler


class GroupedBatchSampler(BatchSampler):
    """Wrap a sampler so that all indices of a batch are of one group.

    The order is that of the sampler as far as possible; what does not fill a batch is left out.
    """

    def __init__(self, sampler: Iterable[int], group_ids: Sequence[int], batch_size: int) -> None:
        """Describe the batches.

        Args:
            sampler: The indices.
            group_ids: The group of each index.
            batch_size: How many make a batch.
        """
        self.sampler = sampler
        self.group_ids = group_ids
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        waiting: defaultdict[int, list[int]] = defaultdict(list)
        for index in self.sampler:
            group = self.group_ids[index]
            waiting[group].append(index)
            if len(waiting[group]) == self.batch_size:
                yield waiting.pop(group)

    def __len__(self) -> int:
        raise TypeError("How many batches there are depends on the order of the groups.")

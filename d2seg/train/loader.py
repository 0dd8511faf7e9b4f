"""Training batches that depend on the seed and the iteration alone, so that a run can go on.

Which images make batch k, and how each of them is augmented, follows from the seed and k: not from
how many processes load or train, nor from what was drawn before. A training that is resumed at
iteration k therefore sees what it would have seen without the interruption, and two processes see
together what one would have seen alone.
"""

import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing.reductions import reduce_tensor
from torch.utils.data import DataLoader, Dataset

from d2seg.core.runtime.untrusted.images import open_image
from d2seg.framework import PathManager, comm

Mapper = Callable[[dict[str, Any]], dict[str, Any] | None]
Draw = tuple[int, int]
"""The place of an image in the whole training, and its index in the data set."""

_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)

_SENT_AS_BYTES = (torch.bool, torch.uint8, torch.int32, torch.int64, torch.float32, torch.float64)
_MOST_BYTES = 2**14
"""Boxes and classes of the objects of an image, not the image."""

_ATTEMPTS = 100
"""How many other images are tried for one that the mapper rejects."""


def seed_everything(*numbers: int) -> None:
    """Seed torch, numpy and Python with a number that depends on all the given ones.

    Args:
        numbers: Not negative, such as a seed, an iteration and a rank; nearby ones give unrelated
            random numbers.
    """
    # Their count as well: zeros at the end would make no difference.
    sequence = np.random.SeedSequence((len(numbers), *numbers))
    seed, torch_seed = sequence.generate_state(2, np.uint32).tolist()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(torch_seed)


@dataclass(frozen=True)
class BadImage:
    """What comes in place of an image that could not be loaded.

    Attributes:
        file_name: The image.
        reason: What was wrong, in words.
    """

    file_name: str
    reason: str


def image_order(repeat_factors: Tensor, seed: int) -> Iterator[int]:
    """Yield indices of images for ever: round after round, each in a random order.

    Args:
        repeat_factors: (N,) float, how often each image comes in a round; 2.3 means twice, and
            three times in 3 of 10 rounds (LVIS, arXiv:1908.03195). 1 for all is the usual order.
        seed: Of the orders.
    """
    generator = torch.Generator().manual_seed(seed)
    whole = repeat_factors.floor()
    while True:
        extra = torch.rand(len(whole), generator=generator) < repeat_factors - whole
        images = torch.arange(len(whole)).repeat_interleave((whole + extra).to(torch.int64))
        yield from images[torch.randperm(len(images), generator=generator)].tolist()


def grouped_batches(
    order: Iterator[int], batch_size: int, groups: Sequence[int] | None = None
) -> Iterator[list[Draw]]:
    """Yield batches in the order in which they become full.

    Args:
        order: Indices of images.
        batch_size: Over all processes.
        groups: For each image a number; a batch is of images of one number. None: no matter.
    """
    waiting: dict[int, list[Draw]] = defaultdict(list)
    for position, index in enumerate(order):
        batch = waiting[0 if groups is None else groups[index]]
        batch.append((position, index))
        if len(batch) == batch_size:
            yield batch.copy()
            batch.clear()


class SeededImages(Dataset):
    """Images mapped with random numbers that depend on the seed and their place alone.

    Args:
        images: One dict per image.
        mapper: From such a dict to what the model takes, or None if it is of no use.
        seed: Of the random numbers.
    """

    def __init__(self, images: Sequence[dict[str, Any]], mapper: Mapper, seed: int) -> None:
        self._images, self._mapper, self._seed = images, mapper, seed

    def __getitem__(self, draw: Draw) -> dict[str, Any] | BadImage:
        """Return the mapped image, or one drawn in its place if it is of no use."""
        position, index = draw
        seed_everything(self._seed, position)
        for _ in range(_ATTEMPTS):
            image = self._images[index]
            try:
                mapped = self._mapper(image)
            except Exception as error:  # a mapper may be anybody's; the message comes along
                return BadImage(str(image.get("file_name", index)), _in_words(error))
            if mapped is not None:
                return mapped
            index = random.randrange(len(self._images))
        return BadImage(
            str(self._images[index].get("file_name", index)), "nothing on it is usable."
        )


class TrainLoader:
    """Batches of this process, without an end, from any iteration on.

    Args:
        images: One dict per image.
        mapper: From such a dict to what the model takes, or None if it is of no use.
        batch_size: Over all processes.
        seed: The same in all processes; see also the attribute.
        repeat_factors: As of `image_order`; by default 1 for all.
        group_by_aspect_ratio: Batches are of wide or of high images only, so that little is padded;
            sizes that the dicts do not have are read from the files.
        num_workers: Worker processes that load; 0 for none.

    Attributes:
        start_iteration: The batch to begin with.
        seed: Which batches come. Both count from the next time that it is iterated.

    Raises:
        ValueError: There are no images, or the batch size does not divide by the number of
            processes.
    """

    def __init__(
        self,
        images: Sequence[dict[str, Any]],
        mapper: Mapper,
        batch_size: int,
        seed: int,
        *,
        repeat_factors: Tensor | None = None,
        group_by_aspect_ratio: bool = False,
        num_workers: int = 0,
    ) -> None:
        if batch_size <= 0 or batch_size % comm.get_world_size():
            raise ValueError(
                f"SOLVER.IMS_PER_BATCH is {batch_size}, but must be a positive multiple of the "
                f"number of processes, {comm.get_world_size()}."
            )
        if not len(images):
            raise ValueError("There are no images to train on (DATASETS.TRAIN).")
        self.start_iteration = 0
        self.seed = seed
        self._images, self._mapper = images, mapper
        self._batch_size, self._num_workers = batch_size, num_workers
        self._factors = torch.ones(len(images)) if repeat_factors is None else repeat_factors
        self._groups = None
        if group_by_aspect_ratio:
            self._groups = [int(_is_wide(images[index])) for index in range(len(images))]

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        """Yield batches of this process.

        Raises:
            ValueError: An image cannot be loaded.
        """
        rank, processes = comm.get_rank(), comm.get_world_size()
        batches = grouped_batches(
            image_order(self._factors, self.seed), self._batch_size, self._groups
        )
        mine = (batch[rank::processes] for batch in batches)
        loaded = DataLoader(
            SeededImages(self._images, self._mapper, self.seed),
            batch_sampler=_Forever(itertools.islice(mine, self.start_iteration, None)),
            num_workers=self._num_workers,
            collate_fn=_as_list,
            worker_init_fn=_set_up_worker,
        )
        for batch in loaded:
            _raise_if_bad(batch)
            yield batch


class _Forever:
    """An iterator in the place of a batch sampler, which torch asks for once."""

    def __init__(self, batches: Iterator[list[Draw]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[Draw]]:
        return self._batches


def _is_wide(image: dict[str, Any]) -> bool:
    if "width" in image and "height" in image:
        return image["width"] > image["height"]
    # Some data sets, such as those of label maps, do not say; the file's header does.
    with PathManager.open(image["file_name"], "rb") as file, open_image(file) as opened:
        turned = opened.getexif().get(_EXIF_ORIENTATION, 1) in _SIDEWAYS
        width, height = opened.size
    return height > width if turned else width > height


def _raise_if_bad(batch: Sequence[Any]) -> None:
    for image in batch:
        if isinstance(image, BadImage):
            raise ValueError(
                f"Image '{image.file_name}' cannot be used for training: {image.reason} Run "
                "`d2seg check-data` to find all such images, then go on with --resume."
            )


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError | ValueError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _as_list(batch: list[Any]) -> list[Any]:
    return batch


def _set_up_worker(worker: int) -> None:
    torch.set_num_threads(1)
    # Of this process alone: what it sends, the training process reads as ever.
    ForkingPickler.register(Tensor, _reduce_tensor)


def _reduce_tensor(tensor: Tensor) -> tuple[Any, ...]:
    """Send small tensors as bytes; a file for each, which torch shares, takes longer."""
    is_plain = tensor.dtype in _SENT_AS_BYTES and not tensor.requires_grad
    if is_plain and tensor.device.type == "cpu" and tensor.nbytes <= _MOST_BYTES:
        return torch.from_numpy, (tensor.numpy(),)
    reduced: tuple[Any, ...] = reduce_tensor(tensor)
    return reduced

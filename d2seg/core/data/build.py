"""Data loaders for training and for inference, from a config or from explicit arguments."""

import logging
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, Sampler

from d2seg.core.config import CfgNode, configurable
from d2seg.core.data.common import (
    AspectRatioGroupedDataset,
    DatasetFromList,
    MapDataset,
    ToIterableDataset,
)
from d2seg.core.data.dataset_dicts import (
    filter_images_with_few_keypoints,
    filter_images_with_only_crowd_annotations,
    get_detection_dataset_dicts,
    load_proposals_into_dataset,
    print_instances_class_histogram,
)
from d2seg.core.data.dataset_mapper import DatasetMapper
from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.data.loader import PlainErrorLoader
from d2seg.core.data.samplers import (
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from d2seg.core.runtime import comm
from d2seg.core.runtime.seed import seed_all_rng

__all__ = [
    "build_batch_data_loader",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "filter_images_with_few_keypoints",
    "filter_images_with_only_crowd_annotations",
    "get_detection_dataset_dicts",
    "load_proposals_into_dataset",
    "print_instances_class_histogram",
    "trivial_batch_collator",
    "worker_init_reset_seed",
]

logger = logging.getLogger(__name__)

Mapper = Callable[[dict[str, Any]], Any]


def build_batch_data_loader(
    dataset: Any,
    sampler: Iterable[int] | None,
    total_batch_size: int,
    *,
    aspect_ratio_grouping: bool = False,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    drop_last: bool = True,
    single_gpu_batch_size: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> Any:
    """Load batches in the order of a sampler.

    Args:
        dataset: Anything that can be indexed, or an ``IterableDataset``.
        sampler: The indices; None for an iterable data set.
        total_batch_size: Over all processes.
        aspect_ratio_grouping: Batches are of wide or of high images only; elements are dicts with
            ``width`` and ``height``.
        num_workers: Worker processes that load.
        collate_fn: Turns a list of elements into a batch; None leaves it a list.
        drop_last: Leave out the last batch if it is not full.
        single_gpu_batch_size: Size of this process's batches, in place of its part of
            ``total_batch_size``.
        seed: Of the base seed of the workers; None for torch's own.
        **kwargs: Further arguments of ``torch.utils.data.DataLoader``.

    Returns:
        An iterable of batches.

    Raises:
        ValueError: The batch size does not divide by the number of processes; or both a sampler and
            an iterable data set.
    """
    batch_size = single_gpu_batch_size or _batch_size_per_process(total_batch_size)
    if not isinstance(dataset, IterableDataset):
        dataset = ToIterableDataset(
            dataset, [] if sampler is None else sampler, shard_chunk_size=batch_size
        )
    elif sampler is not None:
        raise InvalidArgumentError("An iterable data set has its own order; give no sampler.")
    if seed is not None:
        kwargs["generator"] = torch.Generator().manual_seed(seed)
    kwargs.update(num_workers=num_workers, worker_init_fn=worker_init_reset_seed)
    if not aspect_ratio_grouping:
        collate_fn = collate_fn or trivial_batch_collator
        return PlainErrorLoader(
            dataset, batch_size=batch_size, drop_last=drop_last, collate_fn=collate_fn, **kwargs
        )
    # Single elements are loaded, and grouped in this process.
    elements = PlainErrorLoader(dataset, collate_fn=operator.itemgetter(0), **kwargs)
    batches = AspectRatioGroupedDataset(elements, batch_size)
    return batches if collate_fn is None else MapDataset(batches, collate_fn)


def _train_loader_from_config(
    cfg: CfgNode,
    mapper: Mapper | None = None,
    *,
    dataset: Any = None,
    sampler: Iterable[int] | None = None,
) -> dict[str, Any]:
    """Turn a config into the arguments of :func:`build_detection_train_loader`."""
    if dataset is None:
        dataset = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN,
            filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            min_keypoints=cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE
            if cfg.MODEL.KEYPOINT_ON
            else 0,
            proposal_files=cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None,
        )
    if sampler is None and not isinstance(dataset, IterableDataset):
        sampler = _build_train_sampler(cfg, dataset)
    return {
        "dataset": dataset,
        "sampler": sampler,
        "mapper": DatasetMapper(cfg, True) if mapper is None else mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "aspect_ratio_grouping": cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }


@configurable(from_config=_train_loader_from_config)
def build_detection_train_loader(
    dataset: Any,
    *,
    mapper: Mapper | None,
    sampler: Iterable[int] | None = None,
    total_batch_size: int,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Build an endless loader of training batches.

    Call it with these arguments, or with a config: ``build_detection_train_loader(cfg)``.

    Args:
        dataset: A list of image dicts, or a data set of torch, indexed or iterable.
        mapper: From an image dict to what the model takes; from a config by default
            ``DatasetMapper(cfg, True)``. None for no change.
        sampler: The order; by default a :class:`TrainingSampler`. None for iterable data sets.
        total_batch_size: Over all processes.
        aspect_ratio_grouping: Batches are of wide or of high images only.
        num_workers: Worker processes that load.
        collate_fn: Turns a list of elements into a batch; None leaves it a list.
        **kwargs: Further arguments of :func:`build_batch_data_loader`.

    Returns:
        An iterable of batches, by default lists of dicts.
    """
    dataset = _as_dataset(dataset, mapper)
    if sampler is None and not isinstance(dataset, IterableDataset):
        sampler = TrainingSampler(len(dataset))
    return build_batch_data_loader(
        dataset,
        sampler,
        total_batch_size,
        aspect_ratio_grouping=aspect_ratio_grouping,
        num_workers=num_workers,
        collate_fn=collate_fn,
        **kwargs,
    )


def _test_loader_from_config(
    cfg: CfgNode, dataset_name: str | Sequence[str], mapper: Mapper | None = None
) -> dict[str, Any]:
    """Turn a config into the arguments of :func:`build_detection_test_loader`."""
    names = [dataset_name] if isinstance(dataset_name, str) else list(dataset_name)
    proposal_files = None
    if cfg.MODEL.LOAD_PROPOSALS:
        files_by_name = dict(zip(cfg.DATASETS.TEST, cfg.DATASETS.PROPOSAL_FILES_TEST, strict=False))
        proposal_files = [files_by_name[name] for name in names]
    dataset = get_detection_dataset_dicts(names, filter_empty=False, proposal_files=proposal_files)
    return {
        "dataset": dataset,
        "mapper": DatasetMapper(cfg, False) if mapper is None else mapper,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }


@configurable(from_config=_test_loader_from_config)
def build_detection_test_loader(
    dataset: Any,
    *,
    mapper: Mapper | None,
    sampler: Sampler[int] | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
) -> DataLoader:
    """Build a loader that goes through a data set once.

    Call it with these arguments, or with a config and the name of a data set:
    ``build_detection_test_loader(cfg, "nuclei_val")``.

    Args:
        dataset: A list of image dicts, or a data set of torch, indexed or iterable.
        mapper: From an image dict to what the model takes; from a config by default
            ``DatasetMapper(cfg, False)``. None for no change.
        sampler: The order; by default an :class:`InferenceSampler`. None for iterable data sets.
        batch_size: Of this process.
        num_workers: Worker processes that load.
        collate_fn: Turns a list of elements into a batch; None leaves it a list.

    Raises:
        ValueError: Both a sampler and an iterable data set.
    """
    dataset = _as_dataset(dataset, mapper)
    if isinstance(dataset, IterableDataset):
        if sampler is not None:
            raise InvalidArgumentError("An iterable data set has its own order; give no sampler.")
    elif sampler is None:
        sampler = InferenceSampler(len(dataset))
    return PlainErrorLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=False,
        num_workers=num_workers,
        collate_fn=collate_fn or trivial_batch_collator,
    )


def trivial_batch_collator(batch: list[Any]) -> list[Any]:
    """Return the list of elements as it is."""
    return batch


def worker_init_reset_seed(worker_id: int) -> None:
    """Give a worker process its own random numbers, in numpy and the standard library too.

    Args:
        worker_id: Its number.
    """
    seed_all_rng(torch.initial_seed() % 2**31 + worker_id)


def _as_dataset(dataset: Any, mapper: Mapper | None) -> Any:
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    return dataset if mapper is None else MapDataset(dataset, mapper)


def _build_train_sampler(cfg: CfgNode, dataset: Any) -> Sampler[int]:
    name = cfg.DATALOADER.SAMPLER_TRAIN
    logger.info("Images for training come in the order of %s.", name)
    if name == "TrainingSampler":
        return TrainingSampler(len(dataset))
    if name == "RepeatFactorTrainingSampler":
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            dataset, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
        )
        return RepeatFactorTrainingSampler(factors)
    if name == "RandomSubsetTrainingSampler":
        ratio = cfg.DATALOADER.get("RANDOM_SUBSET_RATIO")
        if ratio is None:
            raise ValueError(
                "RandomSubsetTrainingSampler needs the share of the images that is used: add the "
                "key DATALOADER.RANDOM_SUBSET_RATIO, above 0 and at most 1, to the config."
            )
        return RandomSubsetTrainingSampler(len(dataset), ratio)
    raise ValueError(
        "DATALOADER.SAMPLER_TRAIN is TrainingSampler, RepeatFactorTrainingSampler or "
        f"RandomSubsetTrainingSampler; found '{name}'."
    )


def _batch_size_per_process(total_batch_size: int) -> int:
    processes = comm.get_world_size()
    if total_batch_size <= 0 or total_batch_size % processes:
        raise InvalidArgumentError(
            f"The total batch size (SOLVER.IMS_PER_BATCH) has to be a positive multiple of the "
            f"number of processes, {processes}; found {total_batch_size}."
        )
    return total_batch_size // processes

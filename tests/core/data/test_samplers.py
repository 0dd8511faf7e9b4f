"""The orders in which data sets are gone through."""

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from d2seg.core.data.samplers import (
    GroupedBatchSampler,
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from d2seg.core.runtime import comm


def first(sampler: Any, count: int) -> list[int]:
    return list(itertools.islice(sampler, count))


def as_rank(monkeypatch: pytest.MonkeyPatch, rank: int, world_size: int) -> None:
    monkeypatch.setattr(comm, "get_rank", lambda: rank)
    monkeypatch.setattr(comm, "get_world_size", lambda: world_size)


def test_training_is_endless_and_shuffled_by_seed() -> None:
    order = first(TrainingSampler(10, seed=3), 30)
    rounds = [order[start : start + 10] for start in (0, 10, 20)]
    assert all(sorted(one) == list(range(10)) for one in rounds)
    assert rounds[0] != rounds[1] and order == first(TrainingSampler(10, seed=3), 30)
    generator = torch.Generator().manual_seed(3)
    assert rounds[0] == torch.randperm(10, generator=generator).tolist()
    assert first(TrainingSampler(3, shuffle=False), 7) == [0, 1, 2, 0, 1, 2, 0]


def test_without_a_seed_numpys_decides_when_the_sampler_is_made() -> None:
    np.random.seed(42)
    order = first(TrainingSampler(30), 65)
    np.random.seed(42)
    sampler = TrainingSampler(30)
    np.random.seed(999)
    assert first(sampler, 65) == order


@pytest.mark.parametrize(
    "make",
    [
        lambda: TrainingSampler(7, seed=1),
        lambda: RandomSubsetTrainingSampler(14, 0.5, seed_shuffle=1, seed_subset=2),
        lambda: RepeatFactorTrainingSampler(torch.ones(7), seed=1),
    ],
)
def test_processes_go_through_one_order_together(
    monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    whole = first(make(), 12)
    as_rank(monkeypatch, 0, 2)
    even = first(make(), 6)
    as_rank(monkeypatch, 1, 2)
    assert [even, first(make(), 6)] == [whole[::2], whole[1::2]]


def test_a_subset_is_chosen_once() -> None:
    sampler = RandomSubsetTrainingSampler(20, 0.25, seed_subset=5, seed_shuffle=1)
    order = first(sampler, 15)
    assert len(set(order)) == 5 and all(len(set(order[i : i + 5])) == 5 for i in (0, 5, 10))
    other = RandomSubsetTrainingSampler(20, 0.25, seed_subset=5, seed_shuffle=2)
    assert set(first(other, 5)) == set(order)
    fixed = RandomSubsetTrainingSampler(20, 0.25, shuffle=False, seed_subset=5)
    assert first(fixed, 5) == first(fixed, 10)[5:]
    for ratio in (0.0, 1.5, 0.01):
        with pytest.raises(ValueError, match=f"at least one element; {ratio} of 20 does not"):
            RandomSubsetTrainingSampler(20, ratio)


def test_rare_categories_come_more_often() -> None:
    images = [
        {"annotations": [{"category_id": 0}, {"category_id": 1}]},
        {"annotations": [{"category_id": 0}]},
        {"annotations": []},
    ]
    by_frequency = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency
    assert by_frequency(images, 0.5).tolist() == pytest.approx([math.sqrt(1.5), 1.0, 1.0])
    assert by_frequency(images, 0.5, sqrt=False).tolist() == pytest.approx([1.5, 1.0, 1.0])


def test_factors_are_kept_on_average() -> None:
    sampler = RepeatFactorTrainingSampler(torch.tensor([1.0, 2.0, 1.5]), seed=0)
    counts = Counter(first(sampler, 9000))
    assert counts[1] / counts[0] == pytest.approx(2.0, abs=0.01)
    assert counts[2] / counts[0] == pytest.approx(1.5, abs=0.05)
    in_order = RepeatFactorTrainingSampler(torch.tensor([1.0, 2.0]), shuffle=False)
    assert first(in_order, 6) == [0, 1, 1, 0, 1, 1]


@pytest.mark.parametrize(("size", "world_size"), [(10, 1), (10, 3), (2, 3), (9, 3)])
def test_inference_sees_everything_once(
    monkeypatch: pytest.MonkeyPatch, size: int, world_size: int
) -> None:
    parts = []
    for rank in range(world_size):
        as_rank(monkeypatch, rank, world_size)
        sampler = InferenceSampler(size)
        parts.append(list(sampler))
        assert len(sampler) == len(parts[-1])
    assert list(itertools.chain(*parts)) == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_lengths_that_make_no_sense() -> None:
    with pytest.raises(TypeError, match="TrainingSampler needs the length .* found 2.5"):
        TrainingSampler(2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="InferenceSampler needs at least one element; found 0"):
        InferenceSampler(0)


def test_batches_are_of_one_group() -> None:
    batches = list(GroupedBatchSampler(range(7), [0, 1, 0, 1, 1, 0, 0], 2))
    assert batches == [[0, 2], [1, 3], [5, 6]]
    with pytest.raises(TypeError, match="order of the groups"):
        len(GroupedBatchSampler(range(2), [0, 1], 2))

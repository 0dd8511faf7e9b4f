"""Which images make which batch, and what is drawn for them."""

import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from d2seg.framework import comm
from d2seg.train.loader import TrainLoader, grouped_batches, image_order, seed_everything

IMAGES = [{"file_name": str(n), "width": 10 + 5 * (n % 2), "height": 12} for n in range(7)]


def draw(image: dict[str, Any]) -> dict[str, Any]:
    """Draw from all three generators, as augmentations do."""
    return {**image, "drawn": (random.random(), np.random.rand(), float(torch.rand(1)))}


def batches(count: int, start: int = 0, **options: Any) -> list[list[Any]]:
    loader = TrainLoader(IMAGES, draw, 2, 5, **options)
    loader.start_iteration = start
    return list(itertools.islice(loader, count))


def test_every_round_has_every_image_once() -> None:
    order = list(itertools.islice(image_order(torch.ones(7), 3), 21))
    assert all(sorted(order[start : start + 7]) == list(range(7)) for start in (0, 7, 14))
    assert order[:7] != order[7:14]


def test_images_come_as_often_as_their_factor_says() -> None:
    factors = torch.tensor([1.0, 2.25, 0.0])
    counts = Counter(itertools.islice(image_order(factors, 0), 3250))
    assert counts[2] == 0
    assert counts[1] / counts[0] == pytest.approx(2.25, abs=0.05)


def test_batches_are_of_one_group() -> None:
    groups = [0, 1, 0, 1, 0]
    made = list(itertools.islice(grouped_batches(image_order(torch.ones(5), 1), 2, groups), 20))
    assert {len({groups[index] for _, index in batch}) for batch in made} == {1}
    positions = [position for batch in made for position, _ in batch]
    assert len(set(positions)) == len(positions)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_later_start_gives_the_same_batches(grouped: bool) -> None:
    whole = batches(9, group_by_aspect_ratio=grouped)
    assert batches(4, start=5, group_by_aspect_ratio=grouped) == whole[5:]
    assert whole[0][0]["drawn"] != whole[1][0]["drawn"]


@pytest.mark.slow
def test_workers_change_nothing() -> None:
    assert batches(4, num_workers=2) == batches(4)


def test_processes_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = batches(3)
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        assert batches(3) == [[batch[rank]] for batch in alone]


def test_another_image_comes_for_one_without_use() -> None:
    loader = TrainLoader(IMAGES, lambda image: image if image["file_name"] > "3" else None, 2, 5)
    seen = {image["file_name"] for batch in itertools.islice(loader, 20) for image in batch}
    assert seen == {"4", "5", "6"}
    with pytest.raises(ValueError, match=r"Image '\d' cannot be used .*: nothing on it is usable"):
        next(iter(TrainLoader(IMAGES, lambda image: None, 2, 5)))


def test_a_vanished_image_is_named_and_does_not_break_the_worker() -> None:
    def read(image: dict[str, Any]) -> dict[str, Any]:
        raise FileNotFoundError(f"There is no file '{image['file_name']}.png'.")

    for workers in (0, 1):
        with pytest.raises(ValueError, match=r"Image '0' cannot be used .*: There is no file '0.p"):
            next(iter(TrainLoader(IMAGES[:1], read, 1, 5, num_workers=workers)))


def test_any_failure_of_a_mapper_names_the_image() -> None:
    with pytest.raises(ValueError, match=r"Image '0' cannot be .*: ZeroDivisionError: division"):
        next(iter(TrainLoader(IMAGES[:1], lambda image: 1 / 0, 1, 5)))


def test_sizes_come_from_the_files_where_the_data_set_does_not_say(tmp_path: Path) -> None:
    for name, size in (("wide", (9, 4)), ("high", (4, 9))):
        PIL.Image.new("L", size).save(tmp_path / f"{name}.png")
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    PIL.Image.new("L", (9, 4)).save(tmp_path / "turned.jpg", exif=turned)
    images = [{"file_name": str(path)} for path in sorted(tmp_path.iterdir())]  # high, turned, wide
    loader = TrainLoader(images, lambda image: image, 2, 5, group_by_aspect_ratio=True)
    for batch in itertools.islice(loader, 20):
        assert len({"wide" in image["file_name"] for image in batch}) == 1


def test_bad_sizes() -> None:
    with pytest.raises(ValueError, match="IMS_PER_BATCH is 0, but must be a positive multiple"):
        TrainLoader(IMAGES, draw, 0, 5)
    with pytest.raises(ValueError, match="no images to train on"):
        TrainLoader([], draw, 2, 5)


def test_near_seeds_give_unrelated_numbers() -> None:
    drawn = set()
    for numbers in ((0, 1), (1, 0), (1,), (1, 1), (1, 0, 0)):
        seed_everything(*numbers)
        drawn.add((random.random(), np.random.rand(), float(torch.rand(1))))
    assert len(drawn) == 5


def _tensors_of_all_kinds(image: dict[str, Any]) -> dict[str, Any]:
    return {
        "large": torch.arange(30000),
        "boxes": torch.arange(12.0).reshape(4, 3).T[:, 1:],
        "flags": torch.tensor([True, False]),
        "none": torch.zeros((0, 4)),
        "one": torch.tensor(7, dtype=torch.int32),
        "half": torch.tensor([1.5, 2.5], dtype=torch.bfloat16),
    }


def test_workers_send_every_tensor_as_it_is() -> None:
    loaders = [
        TrainLoader([{}], _tensors_of_all_kinds, 1, seed=0, num_workers=workers)
        for workers in (0, 1)
    ]
    ((here,), (sent,)) = (next(iter(loader)) for loader in loaders)
    assert sent.keys() == here.keys()
    for name, tensor in here.items():
        assert sent[name].dtype == tensor.dtype
        assert torch.equal(sent[name], tensor)
        sent[name].zero_()  # may be changed, without a warning

"""Data sets as bytes, mapped, sharded over workers, grouped by shape."""

import itertools
import pickle
import sys
from collections.abc import Iterator

import pytest
from torch.utils.data import DataLoader, IterableDataset

from d2seg.core.data import DatasetFromList, MapDataset, ToIterableDataset
from d2seg.core.data.build import trivial_batch_collator
from d2seg.core.data.common import AspectRatioGroupedDataset


class Counting(IterableDataset):
    def __iter__(self) -> Iterator[int]:
        yield from [1, 2, 3]


def double_unless_2(value: int) -> int | None:
    return None if value == 2 else value * 2


def test_elements_held_as_bytes_are_new_objects() -> None:
    elements = [{"file_name": "a"}, {"file_name": "bcd", "boxes": [1.5] * 40}, None]
    held = DatasetFromList(elements)
    assert len(held) == 3 and [held[i] for i in range(3)] == elements
    held[0]["file_name"] = "changed"
    assert held[0] == {"file_name": "a"} and held[-2] == elements[1]
    with pytest.raises(IndexError):
        held[3]
    assert pickle.loads(pickle.dumps(held))[1] == elements[1]
    assert len(DatasetFromList([])) == 0


def test_elements_held_as_they_are() -> None:
    elements = [{"a": [1]}]
    assert DatasetFromList(elements, copy=False, serialize=False)[0] is elements[0]
    copied = DatasetFromList(elements, serialize=False)[0]
    assert copied == elements[0] and copied["a"] is not elements[0]["a"]
    assert DatasetFromList([1, 2], serialize=lambda lst: [x + 1 for x in lst])[1] == 3


def test_another_element_comes_for_one_that_maps_to_none() -> None:
    mapped = MapDataset(DatasetFromList([1, 2, 3]), double_unless_2)
    assert len(mapped) == 3
    assert (mapped[0], mapped[2]) == (2, 6)
    assert {mapped[1] for _ in range(20)} == {2, 6}
    with pytest.raises(RuntimeError, match="None for every one of the 3 elements"):
        MapDataset([1, 2, 3], lambda value: None)[1]


def test_an_iterable_data_set_stays_one() -> None:
    mapped = MapDataset(Counting(), double_unless_2)
    assert isinstance(mapped, IterableDataset) and list(mapped) == list(mapped) == [2, 6]


def test_mapped_data_sets_go_to_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    named = MapDataset([1, 2, 3], double_unless_2)
    assert pickle.loads(pickle.dumps(named))[2] == 6
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(TypeError, match="top of a module, or install cloudpickle"):
        pickle.dumps(MapDataset([1], lambda value: value))


def test_lambdas_go_to_other_processes() -> None:
    pytest.importorskip("cloudpickle", reason="lambdas are pickled by cloudpickle")
    offset = 5
    mapped = pickle.loads(pickle.dumps(MapDataset([1, 2], lambda value: value + offset)))
    assert mapped[1] == 7


@pytest.mark.parametrize(("chunk", "first_batches"), [(1, [[0, 2, 4], [1, 3, 5]]), (3, None)])
def test_workers_share_the_order(chunk: int, first_batches: list[list[int]] | None) -> None:
    elements = ToIterableDataset(DatasetFromList(list(range(12))), range(12), True, chunk)
    assert list(elements) == list(range(12)) and len(elements) == 12
    loader = DataLoader(elements, 3, num_workers=2, collate_fn=trivial_batch_collator)
    batches = list(loader)
    assert batches[:2] == (first_batches or [[0, 1, 2], [3, 4, 5]])
    assert sorted(itertools.chain(*batches)) == list(range(12))


def test_an_iterable_data_set_has_its_order_already() -> None:
    with pytest.raises(TypeError, match="for indexed data sets"):
        ToIterableDataset(Counting(), range(3))


def test_batches_are_wide_or_high() -> None:
    sizes = [(3, 2), (2, 3), (4, 2), (2, 2), (5, 1)]
    images = [{"width": w, "height": h, "id": i} for i, (w, h) in enumerate(sizes)]
    grouped = AspectRatioGroupedDataset(images, 2)
    assert [[image["id"] for image in batch] for batch in grouped] == [[0, 2], [1, 3]]
    for _ in range(3):  # leaving early leaves no full bucket behind
        next(iter(grouped))
        assert all(len(bucket) < 2 for bucket in grouped._buckets)

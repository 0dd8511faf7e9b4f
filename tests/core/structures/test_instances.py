"""Instances: fields of equal length."""

import copy
import pickle
from typing import Any

import pytest
import torch

from d2seg.core.structures import BitMasks, Boxes, Instances, Keypoints
from d2seg.core.structures import instances as instances_module


def three() -> Instances:
    return Instances(
        (20, 30),
        pred_boxes=Boxes(torch.arange(12.0).reshape(3, 4)),
        scores=torch.tensor([0.9, 0.5, 0.1]),
        names=["a", "b", "c"],
    )


def test_fields_are_attributes() -> None:
    instances = Instances((20, 30))
    instances.scores = torch.tensor([0.5])
    assert instances.has("scores") and not instances.has("pred_boxes")
    assert instances.get("scores") is instances.scores
    assert instances.image_size == (20, 30)
    assert len(instances) == 1
    instances.remove("scores")
    assert instances.get_fields() == {}


def test_a_field_of_another_length_is_named() -> None:
    instances = three()
    with pytest.raises(ValueError, match=r"'pred_classes' has length 2, .* 3 objects"):
        instances.pred_classes = torch.zeros(2)
    assert not instances.has("pred_classes")


def test_the_only_field_may_change_its_length() -> None:
    instances = Instances((1, 1), scores=torch.zeros(2))
    instances.scores = torch.zeros(5)
    assert len(instances) == 5


def test_a_missing_field_lists_those_there_are() -> None:
    with pytest.raises(AttributeError, match=r"'gt_masks'.*pred_boxes, scores, names"):
        _ = three().gt_masks
    with pytest.raises(KeyError, match=r"'gt_masks'.*pred_boxes"):
        three().get("gt_masks")
    with pytest.raises(KeyError, match="'gt_masks'"):
        three().remove("gt_masks")


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (1, ["b"]),
        (-1, ["c"]),
        (slice(0, 2), ["a", "b"]),
        (torch.tensor([True, False, True]), ["a", "c"]),
        (torch.tensor([2, 0]), ["c", "a"]),
        ([2, 0], ["c", "a"]),
    ],
)
def test_indexing_chooses_in_every_field(item: object, expected: list[str]) -> None:
    chosen = three()[item]  # type: ignore[index]
    assert chosen.names == expected
    rows = ["abc".index(name) for name in expected]
    assert chosen.pred_boxes.tensor[:, 0].tolist() == [4.0 * row for row in rows]
    assert len(chosen.scores) == len(expected)


def test_a_mask_on_a_device_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.tensor([True, False, True])
    expected = three()[mask]
    monkeypatch.setattr(instances_module, "_is_mask_on_device", lambda item, _: item is mask)
    chosen = three()[mask]
    assert chosen.names == expected.names
    assert torch.equal(chosen.scores, expected.scores)
    assert torch.equal(chosen.pred_boxes.tensor, expected.pred_boxes.tensor)


def test_which_masks_are_read_once() -> None:
    def is_one(item: torch.Tensor) -> bool:
        return instances_module._is_mask_on_device(item, three())

    assert is_one(torch.ones(3, dtype=torch.bool, device="meta"))
    assert not is_one(torch.ones(3, dtype=torch.bool))
    # Indexing says itself what is wrong with a mask of another length.
    assert not is_one(torch.ones(4, dtype=torch.bool, device="meta"))
    assert not is_one(torch.ones(3, dtype=torch.int64, device="meta"))


@pytest.mark.parametrize("index", [3, -4])
def test_an_index_beyond_the_end(index: int) -> None:
    with pytest.raises(IndexError, match=f"{index} was asked for, but there are 3"):
        three()[index]


def test_cat_joins_every_field() -> None:
    joined = Instances.cat([three(), three()[:1]])
    assert joined.names == ["a", "b", "c", "a"]
    assert len(joined.pred_boxes) == len(joined.scores) == 4


def test_cat_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="empty list"):
        Instances.cat([])
    with pytest.raises(ValueError, match="image sizes"):
        Instances.cat([three(), Instances((1, 1))])
    with pytest.raises(ValueError, match="same fields"):
        Instances.cat([three(), Instances((20, 30), scores=torch.zeros(1))])
    with pytest.raises(TypeError, match="'words' is a str"):
        Instances.cat([Instances((1, 1), words="ab")] * 2)


@pytest.mark.parametrize("size", [torch.tensor([20, 30]), (torch.tensor(20), torch.tensor(30))])
def test_cat_takes_image_sizes_that_are_tensors(size: Any) -> None:
    sized = Instances(size, scores=torch.tensor([0.3]))
    same = Instances((20, 30), scores=torch.tensor([0.2]))
    assert len(Instances.cat([sized, sized, same])) == 3
    with pytest.raises(ValueError, match=r"image sizes \(20, 30\) and \(30, 20\)"):
        Instances.cat([sized, Instances(torch.tensor([30, 20]), scores=torch.tensor([0.1]))])


def test_cat_is_traced_without_comparing_sizes() -> None:
    def join(scores: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        return Instances.cat([Instances(size, scores=scores) for _ in range(2)]).scores

    traced = torch.jit.trace(join, (torch.tensor([0.3]), torch.tensor([20, 30])))
    assert torch.equal(traced(torch.ones(2), torch.tensor([4, 5])), torch.ones(4))


def test_to_leaves_lists_alone() -> None:
    moved = three().to(torch.device("cpu"))
    assert moved.names == ["a", "b", "c"]
    assert isinstance(moved.pred_boxes, Boxes)


@pytest.mark.parametrize("device", ["meta", torch.device("meta")])
def test_to_moves_tensors_and_structures(device: Any) -> None:
    masks, points = BitMasks(torch.ones(1, 4, 5)), Keypoints(torch.ones(1, 2, 3))
    fields = {"scores": torch.ones(1), "boxes": Boxes(torch.ones(1, 4))}
    moved = Instances((4, 5), masks=masks, points=points, **fields).to(device)
    for value in (moved.scores, moved.boxes, moved.masks, moved.points):
        assert value.device.type == "meta"
    doubled = Instances((4, 5), scores=torch.ones(1)).to("cpu", torch.float64)
    assert doubled.scores.dtype == torch.float64


def test_copies_and_pickles() -> None:
    for again in (copy.deepcopy(three()), pickle.loads(pickle.dumps(three()))):
        assert again.names == ["a", "b", "c"]
        assert again.image_size == (20, 30)


def test_no_fields_means_no_length_and_nothing_is_iterable() -> None:
    with pytest.raises(NotImplementedError, match="without fields"):
        len(Instances((1, 1)))
    with pytest.raises(NotImplementedError, match="not iterable"):
        iter(three())


def test_str_shows_count_size_and_fields() -> None:
    text = str(three()[:1])
    assert "num_instances=1, image_height=20, image_width=30" in text
    assert "names: ['a']" in text
    assert "num_instances=0" in str(Instances((1, 1)))

"""What can be asked of a prediction, by hand-computed values on an image that is not square."""

from typing import Any

import pytest
import torch
from pycocotools import mask as coco_mask

from d2seg.predict.masks import BoxMasks
from d2seg.predict.prediction import Prediction, from_network

SIZE_HW = (20, 50)


def prediction(**changes: Any) -> Prediction:
    boxes = torch.tensor([[10.0, 4.0, 30.0, 9.0], [0.0, 2.0, 21.0, 19.0]])
    values: dict[str, Any] = {
        "boxes": boxes,
        "scores": torch.tensor([0.75, 0.5]),
        "classes": torch.tensor([1, 0]),
        "class_names": ("cat", "dog"),
        "image_size": SIZE_HW,
        "mask_source": BoxMasks(torch.ones(2, 28, 28), boxes, SIZE_HW),
    }
    return Prediction(**values | changes)


def test_names_go_with_the_classes() -> None:
    assert prediction().names == ["dog", "cat"]


@pytest.mark.parametrize(
    "index", [slice(1, None), torch.tensor([False, True]), torch.tensor([1])], ids=str
)
def test_an_index_keeps_what_belongs_together(index: Any) -> None:
    keypoints = torch.arange(12.0).reshape(2, 2, 3)
    chosen = prediction(keypoints=keypoints)[index]
    assert len(chosen) == 1
    assert chosen.names == ["cat"]
    assert chosen.boxes.tolist() == [[0.0, 2.0, 21.0, 19.0]]
    assert torch.equal(chosen.keypoints, keypoints[1:])
    assert int(chosen.masks().sum()) == 21 * 17


def test_a_number_is_no_index() -> None:
    with pytest.raises(TypeError, match=r"got 0; for the first object write prediction\[:1\]"):
        prediction()[0]


def test_masks_become_pixels_when_asked_for() -> None:
    found = prediction()
    assert found.masks().shape == (2, 20, 50)
    assert found.masks().sum((1, 2)).tolist() == [100, 357]
    assert found.masks(-1).dtype == torch.uint8
    assert [int(coco_mask.area(run)) for run in found.rle()] == [100, 357]


def test_thresholds_may_differ_from_the_models() -> None:
    boxes = torch.tensor([[10.0, 4.0, 30.0, 9.0]])
    source = BoxMasks(torch.full((1, 28, 28), 0.6), boxes, SIZE_HW)
    found = prediction(mask_source=source, mask_threshold=0.7)
    assert not found.masks().any()
    assert found.masks(0.55).any()
    assert coco_mask.area(found.rle(0.55)[0]) > 0 == coco_mask.area(found.rle()[0])


def test_soft_run_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="threshold is -1, but run lengths are of hard masks"):
        prediction().rle(-1)


def test_a_model_without_masks() -> None:
    found = prediction(mask_source=None)
    assert not found.has_masks
    with pytest.raises(ValueError, match="This model gives no masks"):
        found.masks()
    assert "segmentation" not in found.to_coco(1)[0]
    assert not found.to_instances().has("pred_masks")


def test_coco_results() -> None:
    keypoints = torch.tensor([[[5.0, 6.0, 0.5]], [[7.0, 8.0, 0.25]]])
    first, second = prediction(keypoints=keypoints).to_coco(7, category_ids=[40, 5])
    area = int(coco_mask.area(first.pop("segmentation")))
    assert area == 100
    assert first == {
        "image_id": 7,
        "category_id": 5,
        "bbox": [10.0, 4.0, 20.0, 5.0],
        "score": 0.75,
        "keypoints": [4.5, 5.5, 0.5],
    }
    assert second["category_id"] == 40
    assert [one["category_id"] for one in prediction().to_coco("a")] == [2, 1]


def test_coco_needs_an_id_for_each_class() -> None:
    with pytest.raises(ValueError, match="category_ids has 1 entries, but the model has 2 classes"):
        prediction().to_coco(1, [3])


def test_instances_hold_the_same() -> None:
    keypoints = torch.zeros(2, 4, 3)
    found = prediction(keypoints=keypoints)
    instances = found.to_instances()
    assert instances.image_size == SIZE_HW
    assert torch.equal(instances.pred_boxes.tensor, found.boxes)
    assert torch.equal(instances.pred_masks, found.masks())
    assert torch.equal(instances.scores, found.scores)
    assert torch.equal(instances.pred_classes, found.classes)
    assert instances.pred_keypoints.shape == (2, 4, 3)


def test_nothing_found() -> None:
    found = prediction(keypoints=torch.zeros(2, 4, 3))[:0]
    assert (len(found), found.names, found.rle(), found.to_coco(1)) == (0, [], [], [])
    assert found.masks().shape == (0, 20, 50)
    assert len(found.to_instances()) == 0


def test_network_pixels_become_image_pixels() -> None:
    keypoints = torch.tensor([[[10.0, 10.0, 0.5]], [[0.0, 4.0, 0.5]]])
    found = prediction(keypoints=keypoints, mask_source=None)
    moved = from_network(found, (40, 25), torch.ones(2, 1, 28, 28))
    assert moved.image_size == (40, 25)
    assert moved.boxes[0].tolist() == [5.0, 8.0, 15.0, 18.0]
    assert moved.keypoints is not None
    assert moved.keypoints[0].tolist() == [[5.0, 20.0, 0.5]]
    assert int(moved.masks()[0].sum()) == 100


def test_boxes_are_clipped_and_empty_ones_dropped() -> None:
    boxes = torch.tensor([[60.0, 0.0, 70.0, 9.0], [40.0, -5.0, 60.0, 30.0]])
    moved = from_network(prediction(boxes=boxes, mask_source=None), SIZE_HW)
    assert moved.boxes.tolist() == [[40.0, 0.0, 50.0, 20.0]]
    assert moved.names == ["cat"]

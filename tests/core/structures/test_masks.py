"""Bit masks, polygons and masks within boxes."""

import numpy as np
import pytest
import torch

from d2seg.core.structures import (
    BitMasks,
    PolygonMasks,
    ROIMasks,
    polygon_area,
    polygons_to_bitmask,
)
from tests.reference.deterministic import annotations
from tests.reference.functions import recorded_functions, unpack_bits

RECTANGLE = [2.0, 1.0, 8.0, 1.0, 8.0, 4.0, 2.0, 4.0]
TRIANGLE = [0.0, 0.0, 4.0, 0.0, 0.0, 4.0]


def recorded_masks() -> BitMasks:
    record = recorded_functions()
    return BitMasks(annotations(record["seed"], record["height"], record["width"], 3)["masks"])


def jittered_boxes() -> torch.Tensor:
    return torch.tensor(recorded_functions()["boxes_jittered"])


def test_bitmask_crops_are_detectron2s() -> None:
    want = unpack_bits(recorded_functions()["bitmask_crop_28"], 28)
    crops = recorded_masks().crop_and_resize(jittered_boxes(), 28)
    assert crops.dtype == torch.bool
    assert (crops.numpy() != want).sum() == 0


def test_polygon_crops_are_detectron2s() -> None:
    record = recorded_functions()
    want = unpack_bits(record["polygon_crop_28"], 28)
    crops = PolygonMasks(record["polygons"]).crop_and_resize(jittered_boxes(), 28)
    assert (crops.numpy() != want).sum() == 0


def test_polygon_areas_and_boxes_are_detectron2s() -> None:
    record = recorded_functions()
    masks = PolygonMasks(record["polygons"])
    torch.testing.assert_close(masks.area(), torch.tensor(record["polygon_areas"]))
    torch.testing.assert_close(
        masks.get_bounding_boxes().tensor, torch.tensor(record["polygon_bounding_boxes"])
    )


def test_pasted_masks_are_detectron2s() -> None:
    record = recorded_functions()
    pasted = BitMasks.from_roi_masks(
        ROIMasks(torch.tensor(record["paste_probabilities"])),
        jittered_boxes(),
        record["height"],
        record["width"],
    )
    assert pasted.image_size == (record["height"], record["width"])
    assert pasted.area().tolist() == record["paste_half"]


def test_bitmask_boxes_are_tight() -> None:
    masks = torch.zeros(3, 6, 9)
    masks[0, 2:4, 3:8] = 1
    masks[2, 5, 8] = 1
    boxes = BitMasks(masks).get_bounding_boxes()
    assert boxes.tensor.tolist() == [[3, 2, 8, 4], [0, 0, 0, 0], [8, 5, 9, 6]]
    assert BitMasks(masks).nonempty().tolist() == [True, False, True]


def test_bitmask_boxes_are_the_annotated_ones() -> None:
    record = recorded_functions()
    truth = annotations(record["seed"], record["height"], record["width"], 3)
    assert recorded_masks().get_bounding_boxes().tensor.numpy().tolist() == truth["boxes"].tolist()


def test_bitmasks_index_and_join() -> None:
    masks = recorded_masks()
    assert len(masks[0]) == 1 and masks[0].image_size == masks.image_size
    assert len(masks[torch.tensor([1, 3])]) == 2
    assert len(BitMasks.cat([masks, masks[:2]])) == len(masks) + 2
    assert next(iter(masks)).shape == masks.image_size
    assert masks.to("cpu").device == torch.device("cpu")
    assert "num_instances=7" in repr(masks)


def test_no_masks() -> None:
    none = BitMasks.from_polygon_masks([], 5, 7)
    assert none.image_size == (5, 7)
    assert none.get_bounding_boxes().tensor.shape == (0, 4)
    assert none.crop_and_resize(torch.zeros(0, 4), 28).shape == (0, 28, 28)
    assert PolygonMasks([]).crop_and_resize(torch.zeros(0, 4), 28).shape == (0, 28, 28)
    assert PolygonMasks([]).area().shape == (0,)
    assert PolygonMasks([]).get_bounding_boxes().tensor.shape == (0, 4)


def test_a_rectangle_becomes_its_pixels() -> None:
    masks = BitMasks.from_polygon_masks(PolygonMasks([[RECTANGLE], []]), 6, 10)
    want = torch.zeros(6, 10, dtype=torch.bool)
    want[1:4, 2:8] = True
    assert masks.tensor[0].equal(want)
    assert masks.nonempty().tolist() == [True, False]


def test_polygons_of_one_object_are_united() -> None:
    parts = [np.array(RECTANGLE), np.array(RECTANGLE) + 1]
    union = polygons_to_bitmask(parts, 12, 12)
    separate = [polygons_to_bitmask([part], 12, 12) for part in parts]
    assert union.tolist() == (separate[0] | separate[1]).tolist()


def test_polygon_area_ignores_orientation() -> None:
    x, y = np.array(TRIANGLE[0::2]), np.array(TRIANGLE[1::2])
    assert polygon_area(x, y) == polygon_area(x[::-1], y[::-1]) == 8.0


def test_polygon_masks_index_and_join() -> None:
    masks = PolygonMasks([[TRIANGLE], [RECTANGLE, TRIANGLE], []])
    assert masks.nonempty().tolist() == [True, True, False]
    assert masks.area().tolist() == [8.0, 26.0, 0.0]
    assert masks.get_bounding_boxes().tensor.tolist() == [[0, 0, 4, 4], [0, 0, 8, 4], [0, 0, 0, 0]]
    assert len(masks[0]) == 1
    assert masks[torch.tensor([True, False, True])].area().tolist() == [8.0, 0.0]
    assert masks[torch.tensor([1])].area().tolist() == [26.0]
    assert masks[[2, 0]].area().tolist() == [0.0, 8.0]
    assert len(PolygonMasks.cat([masks, masks[:1]])) == 4
    assert [len(parts) for parts in masks] == [1, 2, 0]
    assert masks.to("cuda").device == torch.device("cpu")


def test_polygons_are_not_modified_by_cropping() -> None:
    masks = PolygonMasks([[RECTANGLE]])
    masks.crop_and_resize(torch.tensor([[1.0, 1.0, 1.0, 1.0]]), 28)
    assert masks.polygons[0][0].tolist() == RECTANGLE


def test_roi_masks_index() -> None:
    masks = ROIMasks(torch.rand(3, 28, 28))
    assert len(masks[0]) == 1 and len(masks[1:]) == 2
    assert masks.to("cpu").device == torch.device("cpu")


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(N, H, W\); found shape \(4, 4\)"):
        BitMasks(torch.zeros(4, 4))
    with pytest.raises(ValueError, match=r"\(N, M, M\); found shape \(3, 1, 28, 28\)"):
        ROIMasks(torch.zeros(3, 1, 28, 28))
    with pytest.raises(ValueError, match=r"shape \(1, 4\); found \(2, 4\)"):
        PolygonMasks([[TRIANGLE]]).crop_and_resize(torch.zeros(2, 4), 28)
    with pytest.raises(ValueError, match="three x, y pairs; object 1"):
        PolygonMasks([[TRIANGLE], [[0.0, 0.0, 1.0, 1.0]]])
    with pytest.raises(TypeError, match="object 0; found a float"):
        PolygonMasks([0.5])  # type: ignore[list-item]


def test_shared_bitmaps_are_those_that_were_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    masks = BitMasks(torch.rand(5, 20, 30) > 0.5)
    rows = torch.tensor([3, 0, 3, 3, 4])
    corners = torch.rand(5, 2) * 10
    boxes = torch.cat([corners, corners + torch.rand(5, 2) * 15], dim=1)
    expected = masks[rows].crop_and_resize(boxes, 7)
    for at_once in (1, 2 * 20 * 30, 10**6):  # one bitmap, two of three, all
        monkeypatch.setattr("d2seg.core.structures.masks._PIXELS_AT_ONCE", at_once)
        shared = masks.sharing(rows)
        assert torch.equal(shared.crop_and_resize(boxes, 7), expected)
        chosen = torch.tensor([True, False, True, False, True])
        assert torch.equal(shared[chosen].crop_and_resize(boxes[chosen], 7), expected[chosen])
        again = shared.sharing(torch.tensor([4, 1]))
        assert len(again) == 2
        assert torch.equal(again.tensor, masks.tensor[[4, 0]])
        assert torch.equal(shared.tensor, masks.tensor[rows])
        assert torch.equal(shared.crop_and_resize(boxes, 7), expected)  # with a tensor of its own
        shared = masks.sharing(rows)  # as on a GPU: all bitmaps are read
        monkeypatch.setattr(shared, "_bitmaps_in_use", lambda: (torch.arange(5), rows))
        assert torch.equal(shared.crop_and_resize(boxes, 7), expected)
    none = masks.sharing(rows[:0])
    assert len(none) == 0
    assert none.crop_and_resize(boxes[:0], 7).shape == (0, 7, 7)

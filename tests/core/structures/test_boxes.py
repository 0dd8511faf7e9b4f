"""Boxes, the modes of writing them, and pairwise measures."""

import math

import numpy as np
import pytest
import torch

from d2seg.core.structures import (
    Boxes,
    BoxMode,
    pairwise_intersection,
    pairwise_ioa,
    pairwise_iou,
    pairwise_point_box_distance,
)
from tests.reference.deterministic import annotations
from tests.reference.functions import recorded_functions


def test_a_list_becomes_float32() -> None:
    boxes = Boxes([[1, 2, 3, 5]])
    assert boxes.tensor.dtype == torch.float32
    assert boxes.area().tolist() == [6.0]
    assert boxes.get_centers().tolist() == [[2.0, 3.5]]


@pytest.mark.parametrize("empty", [[], torch.empty(0), torch.empty(0, 4), np.zeros((0, 4))])
def test_no_boxes_have_four_columns(empty: object) -> None:
    assert Boxes(empty).tensor.shape == (0, 4)
    assert len(Boxes(empty)) == 0


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, 4\); found \[2, 5\]"):
        Boxes(torch.zeros(2, 5))


def test_clip_uses_height_then_width_and_leaves_the_tensor_alone() -> None:
    tensor = torch.tensor([[-5.0, -5.0, 500.0, 500.0]])
    boxes = Boxes(tensor)
    boxes.clip((10, 200))
    assert boxes.tensor.tolist() == [[0.0, 0.0, 200.0, 10.0]]
    assert tensor.tolist() == [[-5.0, -5.0, 500.0, 500.0]]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_clip_refuses_what_is_not_a_number(value: float) -> None:
    with pytest.raises(ValueError, match="infinite or not a number"):
        Boxes([[0, 0, value, 1]]).clip((10, 20))


def test_inside_box_counts_the_threshold_on_every_side() -> None:
    boxes = Boxes([[0, 0, 19, 9], [-1, 0, 5, 5], [0, 0, 20, 5], [0, 0, 5, 10]])
    assert boxes.inside_box((10, 20)).tolist() == [True, False, False, False]
    assert boxes.inside_box((10, 20), boundary_threshold=1).tolist() == [True] * 4


def test_scale_and_nonempty() -> None:
    boxes = Boxes([[1, 2, 3, 4], [5, 5, 5, 9]])
    assert boxes.nonempty().tolist() == [True, False]
    assert boxes.nonempty(threshold=2.0).tolist() == [False, False]
    boxes.scale(2.0, 10.0)
    assert boxes.tensor[0].tolist() == [2.0, 20.0, 6.0, 40.0]


def test_indexing_keeps_boxes() -> None:
    boxes = Boxes(torch.arange(12.0).reshape(3, 4))
    assert boxes[1].tensor.tolist() == [[4.0, 5.0, 6.0, 7.0]]
    assert boxes[-1].tensor.tolist() == [[8.0, 9.0, 10.0, 11.0]]
    assert len(boxes[torch.tensor([True, False, True])]) == 2
    assert len(boxes[:0]) == 0
    assert [tuple(box.shape) for box in boxes] == [(4,)] * 3


def test_cat_and_clone() -> None:
    boxes = Boxes([[0, 0, 1, 1]])
    assert len(Boxes.cat([boxes, boxes])) == 2
    assert Boxes.cat([]).tensor.shape == (0, 4)
    copy = boxes.clone()
    copy.tensor += 1
    assert boxes.tensor.tolist() == [[0.0, 0.0, 1.0, 1.0]]
    assert boxes.to("cpu").device == torch.device("cpu")


def test_pairwise_iou_is_detectron2s() -> None:
    record = recorded_functions()
    truth = annotations(record["seed"], record["height"], record["width"], 3)["boxes"]
    iou = pairwise_iou(Boxes(record["boxes_jittered"]), Boxes(truth))
    torch.testing.assert_close(iou, torch.tensor(record["pairwise_iou"]), atol=1e-5, rtol=0)


def test_ioa_divides_by_the_second_box() -> None:
    small, large = Boxes([[0, 0, 2, 2]]), Boxes([[0, 0, 4, 4], [8, 8, 9, 9], [1, 1, 1, 1]])
    assert pairwise_intersection(small, large).tolist() == [[4.0, 0.0, 0.0]]
    assert pairwise_ioa(small, large).tolist() == [[0.25, 0.0, 0.0]]


def test_point_box_distance_is_left_top_right_bottom() -> None:
    distance = pairwise_point_box_distance(
        torch.tensor([[3.0, 5.0], [-1.0, 0.0]]), Boxes([[0, 0, 10, 20]])
    )
    assert distance.tolist() == [[[3.0, 5.0, 7.0, 15.0]], [[-1.0, 0.0, 11.0, 20.0]]]


@pytest.mark.parametrize("container", [list, tuple, np.array, torch.tensor])
def test_convert_keeps_the_container(container: type) -> None:
    box = container([1.5, 2.0, 4.0, 8.0])
    xywh = BoxMode.convert(box, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    assert type(xywh) is type(box)
    assert list(xywh) == [1.5, 2.0, 2.5, 6.0]
    assert list(BoxMode.convert(xywh, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)) == [1.5, 2.0, 4.0, 8.0]
    assert list(box) == [1.5, 2.0, 4.0, 8.0]


def test_convert_takes_many_boxes() -> None:
    xyxy = np.array([[0, 1, 2, 4], [5, 6, 9, 8]])
    xywh = BoxMode.convert(xyxy, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    assert xywh.tolist() == [[0, 1, 2, 3], [5, 6, 4, 2]]


def test_rotated_boxes() -> None:
    upright = BoxMode.convert([10.0, 20.0, 6.0, 2.0, 90.0], BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS)
    assert upright == pytest.approx([9.0, 17.0, 11.0, 23.0])
    rotated = BoxMode.convert((1, 2, 4, 6), BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS)
    assert rotated == (3.0, 5.0, 4.0, 6.0, 0.0)


def test_convert_says_what_it_cannot_do() -> None:
    with pytest.raises(NotImplementedError, match="XYXY_REL to XYXY_ABS"):
        BoxMode.convert([0, 0, 1, 1], BoxMode.XYXY_REL, BoxMode.XYXY_ABS)
    with pytest.raises(ValueError, match="4 numbers .* found a list of shape"):
        BoxMode.convert([0, 0, 1], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)

"""Box arithmetic, with non-square images and empty input."""

import torch

from d2seg.core.ops.boxes import box_area, clip_boxes, nonempty, pairwise_iou, scale_boxes

ONE_BOX = torch.tensor([[-5.0, -5.0, 500.0, 500.0]])


def test_clip_uses_height_then_width() -> None:
    assert clip_boxes(ONE_BOX, (10, 200)).tolist() == [[0.0, 0.0, 200.0, 10.0]]


def test_clip_leaves_its_argument_alone() -> None:
    boxes = ONE_BOX.clone()
    clip_boxes(boxes, (10, 200))
    assert boxes.tolist() == ONE_BOX.tolist()


def test_scale_uses_x_then_y() -> None:
    boxes = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert scale_boxes(boxes, 10.0, 100.0).tolist() == [[10.0, 200.0, 30.0, 400.0]]


def test_nonempty_is_strict_about_both_sides() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 3], [0, 0, 3, 2], [0, 0, 3, 3]])
    assert nonempty(boxes, 2.0).tolist() == [False, False, True]


def test_iou_of_overlapping_apart_and_empty_boxes() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 2], [1, 0, 5, 2], [9, 9, 10, 10], [3, 3, 3, 3]])
    expected = [[1.0, 0.6, 0.0, 0.0], [0.6, 1.0, 0.0, 0.0], [0, 0, 1.0, 0], [0.0, 0, 0, 0]]
    torch.testing.assert_close(pairwise_iou(boxes, boxes), torch.tensor(expected))
    assert box_area(boxes).tolist() == [8.0, 8.0, 1.0, 0.0]


def test_no_boxes() -> None:
    none = torch.zeros(0, 4)
    assert clip_boxes(none, (3, 5)).shape == (0, 4)
    assert pairwise_iou(none, ONE_BOX).shape == (0, 1)
    assert pairwise_iou(ONE_BOX, none).shape == (1, 0)
    assert nonempty(none).shape == (0,)


def test_functions_script() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 2], [1, 0, 5, 2]])
    for function, arguments in (
        (clip_boxes, (boxes, (1, 3))),
        (pairwise_iou, (boxes, boxes)),
        (scale_boxes, (boxes, 2.0, 3.0)),
        (nonempty, (boxes, 1.0)),
    ):
        torch.testing.assert_close(torch.jit.script(function)(*arguments), function(*arguments))

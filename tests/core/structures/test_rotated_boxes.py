"""A list of rotated boxes."""

import pytest
import torch

from d2seg.core.structures import Boxes, BoxMode, RotatedBoxes, pairwise_iou_rotated

ROWS = [[50.0, 40.0, 20.0, 10.0, 0.0], [30.0, 60.0, 16.0, 8.0, 450.0]]


def test_holds_moves_joins_and_chooses() -> None:
    boxes = RotatedBoxes(ROWS)
    assert isinstance(boxes, Boxes)
    assert boxes.tensor.dtype == torch.float32
    assert len(boxes) == len(list(boxes)) == 2
    assert boxes.area().tolist() == [200.0, 128.0]
    assert boxes.get_centers().tolist() == [[50.0, 40.0], [30.0, 60.0]]
    assert boxes[1].tensor.tolist() == [ROWS[1]]
    assert boxes[torch.tensor([True, False])].tensor.tolist() == [ROWS[0]]
    assert RotatedBoxes.cat([boxes, boxes[:1]]).tensor.shape == (3, 5)
    assert RotatedBoxes.cat([]).tensor.shape == (0, 5)
    copy = boxes.clone()
    copy.tensor[0, 0] = 7
    assert boxes.tensor[0, 0] == 50
    assert boxes.to("cpu").device.type == "cpu"
    assert repr(boxes).startswith("RotatedBoxes(tensor(")
    with pytest.raises(ValueError, match=r"tensor \(N, 5\); found \[1, 4\]"):
        RotatedBoxes([[1.0, 2, 3, 4]])


def test_angles_come_into_half_a_turn_either_way() -> None:
    boxes = RotatedBoxes([[0, 0, 1, 1, angle] for angle in (-180.0, 180.0, 450.0, -190.0, 0.0)])
    boxes.normalize_angles()
    assert boxes.tensor[:, 4].tolist() == [-180.0, -180.0, 90.0, 170.0, 0.0]


def test_only_upright_boxes_are_clipped() -> None:
    boxes = RotatedBoxes([[5, 20, 30, 10, 0.5], [5, 20, 30, 10, 45], [90, 50, 10, 20, 360]])
    boxes.clip((45, 80))  # height, width
    assert boxes.tensor[0].tolist() == [10.0, 20.0, 20.0, 10.0, 0.5]
    assert boxes.tensor[1].tolist() == [5.0, 20.0, 30.0, 10.0, 45.0]
    assert boxes.tensor[2, :2].tolist() == [80.0, 42.5]
    assert boxes.nonempty().tolist() == [True, True, False]


def test_inside_means_with_all_corners() -> None:
    boxes = RotatedBoxes([[10, 10, 20, 4, 0], [10, 10, 20, 4, 90], [10, 5, 20, 4, 90]])
    assert boxes.inside_box((21, 60)).tolist() == [True, True, False]
    assert boxes.inside_box((21, 60), boundary_threshold=5).tolist() == [True, True, True]


@pytest.mark.parametrize(
    ("angle", "expected"),
    [
        (0.0, [100.0, 120.0, 40.0, 30.0, 0.0]),
        (90.0, [100.0, 120.0, 60.0, 20.0, 90.0]),
    ],
)
def test_sides_scale_with_the_axis_they_lie_along(angle: float, expected: list[float]) -> None:
    boxes = RotatedBoxes([[50, 40, 20, 10, angle]])
    boxes.scale(2.0, 3.0)
    torch.testing.assert_close(boxes.tensor[0], torch.tensor(expected), atol=1e-4, rtol=1e-5)


def test_equal_factors_keep_the_angle() -> None:
    boxes = RotatedBoxes([[50, 40, 20, 10, 33.0]])
    boxes.scale(2.0, 2.0)
    torch.testing.assert_close(boxes.tensor[0], torch.tensor([100.0, 80, 40, 20, 33]))


def test_overlap_is_that_of_the_same_upright_boxes() -> None:
    xywh = torch.tensor([[10.0, 10.0, 20.0, 10.0]])
    xywha = BoxMode.convert(xywh, BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS)
    iou = pairwise_iou_rotated(RotatedBoxes(xywha), RotatedBoxes([[20, 15, 10, 20, 90]]))
    assert iou.item() == pytest.approx(1.0, abs=1e-6)

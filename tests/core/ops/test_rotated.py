"""Rotated boxes against upright ones, areas known by geometry, and a slow count of pixels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2seg.core.ops.boxes import pairwise_iou
from d2seg.core.ops.nms import nms
from d2seg.core.ops.roi_align import roi_align
from d2seg.core.ops.rotated import (
    batched_nms_rotated,
    nms_rotated,
    pairwise_iou_rotated,
    roi_align_rotated,
    rotated_corners,
)


def upright(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return boxes as XYXY and as rotated boxes of 0 degrees."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(count, 2, generator=generator) * 100
    size = torch.rand(count, 2, generator=generator) * 40 + 1
    xyxy = torch.cat([center - size / 2, center + size / 2], dim=1)
    return xyxy, torch.cat([center, size, torch.zeros(count, 1)], dim=1)


def test_without_rotation_the_overlap_is_that_of_upright_boxes() -> None:
    (a, rotated_a), (b, rotated_b) = upright(30, 1), upright(20, 2)
    expected = pairwise_iou(a, b)
    torch.testing.assert_close(pairwise_iou_rotated(rotated_a, rotated_b), expected)
    turned = rotated_a[:, [0, 1, 3, 2, 4]] + torch.tensor([0, 0, 0, 0, 90.0])
    torch.testing.assert_close(
        pairwise_iou_rotated(turned, rotated_b), expected, atol=1e-5, rtol=1e-4
    )
    chunked = pairwise_iou_rotated(rotated_a, rotated_b, chunk_size=7)
    torch.testing.assert_close(chunked, expected)


def test_areas_known_by_geometry() -> None:
    square = torch.tensor([[0.0, 0, 2, 2, 0]])
    turned = torch.tensor([[0.0, 0, 2, 2, 45.0]])
    octagon = 8 * (math.sqrt(2) - 1)  # of inner radius 1
    expected = octagon / (8 - octagon)
    assert pairwise_iou_rotated(square, turned).item() == pytest.approx(expected, abs=1e-6)
    assert pairwise_iou_rotated(square, square).item() == pytest.approx(1.0)
    far = torch.tensor([[1e6, 1e6, 2, 2, 0.0]])
    assert pairwise_iou_rotated(far, far + torch.tensor([0, 0, 0, 0, 45.0])).item() == (
        pytest.approx(expected, abs=1e-6)
    )
    empty = torch.tensor([[0.0, 0, 0, 2, 10]])
    assert pairwise_iou_rotated(square, empty).item() == 0
    assert pairwise_iou_rotated(square, torch.zeros(0, 5)).shape == (1, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_boxes_that_are_nearly_the_same_lose_nothing(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([500.0, 300, 60, 60, 720])
    boxes = (torch.rand(200, 5, generator=generator) * scale).to(dtype)
    boxes[:, 2] += 0.5
    boxes[:100, 3] = 0.5  # thin ones
    moved = boxes + 1e-4 * torch.randn(200, 5, generator=generator).to(dtype)
    iou = pairwise_iou_rotated(boxes, moved).diag()
    assert ((iou > 0.998) & (iou < 1 + 1e-5)).all()
    precise = pairwise_iou_rotated(boxes.double(), moved.double()).diag()
    torch.testing.assert_close(iou.double(), precise, atol=2e-4, rtol=0)
    assert pairwise_iou_rotated(boxes, moved).dtype == dtype


def test_boxes_side_by_side_share_exactly_nothing() -> None:
    a = torch.tensor([[3.0, 3, 8, 2, -45], [160.0, 153, 230, 23, -37]])
    b = torch.tensor([[6.0, 0, 8, 2, -45], [190.0, 127, 80, 21, -46]])
    assert pairwise_iou_rotated(a, b).diag().tolist() == [0.0, 0.0]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_the_overlap_is_the_share_of_points_in_both(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([8.0, 8.0, 12.0, 12.0, 720.0])
    boxes = torch.rand(2, 5, generator=generator) * scale + torch.tensor([0, 0, 1.0, 1.0, -360.0])
    y, x = torch.meshgrid(*[torch.arange(-12, 22, 0.05)] * 2, indexing="ij")
    inside = []
    for cx, cy, width, height, degrees in boxes.tolist():
        angle = math.radians(degrees)
        along = (x - cx) * math.cos(angle) - (y - cy) * math.sin(angle)
        across = (x - cx) * math.sin(angle) + (y - cy) * math.cos(angle)
        inside.append((along.abs() <= width / 2) & (across.abs() <= height / 2))
    expected = (inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum()
    found = pairwise_iou_rotated(boxes[:1], boxes[1:]).item()
    assert found == pytest.approx(expected.item(), abs=0.02)


def test_corners_turn_counter_clockwise_on_the_screen() -> None:
    (corners,) = rotated_corners(torch.tensor([[10.0, 20.0, 4.0, 2.0, 90.0]]))
    # The right end of the box points up, to smaller y.
    expected = torch.tensor([[9.0, 22.0], [9.0, 18.0], [11.0, 18.0], [11.0, 22.0]])
    torch.testing.assert_close(corners, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_suppression_is_that_of_upright_boxes(threshold: float) -> None:
    xyxy, rotated = upright(200, 3)
    scores = torch.rand(200, generator=torch.Generator().manual_seed(4))
    assert nms_rotated(rotated, scores, threshold).tolist() == nms(xyxy, scores, threshold).tolist()


@pytest.mark.parametrize("block_size", [1, 7, 256])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_suppression_in_blocks_is_one_by_one(threshold: float, block_size: int) -> None:
    generator = torch.Generator().manual_seed(5)
    objects = torch.rand(12, 5, generator=generator) * torch.tensor([90.0, 60, 30, 30, 360])
    boxes = objects.repeat(10, 1) + torch.randn(120, 5, generator=generator) * 3
    boxes[:, 2:4] = boxes[:, 2:4].clamp(min=0)  # some have no area
    scores = torch.rand(120, generator=generator).mul(20).round()  # many are equal
    iou = pairwise_iou_rotated(boxes, boxes)
    expected: list[int] = []
    for index in torch.sort(scores, stable=True, descending=True)[1].tolist():
        if all(iou[better, index] <= threshold for better in expected):
            expected.append(index)
    assert 12 <= len(expected) < 120
    assert nms_rotated(boxes, scores, threshold, block_size).tolist() == expected


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_suppression_compiles() -> None:
    _, rotated = upright(40, 6)
    scores = torch.linspace(0, 1, 40)
    scripted = torch.jit.script(nms_rotated)(rotated, scores, 0.3)
    assert torch.equal(scripted, nms_rotated(rotated, scores, 0.3))


def test_groups_do_not_suppress_each_other() -> None:
    box = torch.tensor([[5.0, 5, 4, 2, 30]]).expand(4, -1)
    scores = torch.tensor([0.1, 0.4, 0.3, 0.2])
    keep = batched_nms_rotated(box, scores, torch.tensor([0, 0, 1, 1]), 0.5)
    assert keep.tolist() == [1, 2]
    assert nms_rotated(box[:0], scores[:0], 0.5).shape == (0,)


@pytest.mark.parametrize("ratio", [0, 2])
def test_pooling_without_rotation_is_roi_align(ratio: int) -> None:
    features = torch.randn(2, 3, 16, 20)
    xyxy, rotated = upright(12, 5)
    image = (torch.arange(12) % 2)[:, None].float()
    expected = roi_align(features, torch.cat([image, xyxy], 1), (7, 7), 0.125, ratio, True)
    found = roi_align_rotated(features, torch.cat([image, rotated], 1), (7, 7), 0.125, ratio)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_pooling_a_turned_box_turns_the_result() -> None:
    features = torch.randn(1, 2, 32, 32)
    box = torch.tensor([[0.0, 16.0, 16.0, 12.0, 12.0, 0.0]])
    plain = roi_align_rotated(features, box, (6, 6), 1.0, 2)
    turned = roi_align_rotated(features, box + torch.tensor([0, 0, 0, 0, 0, 90.0]), (6, 6), 1.0, 2)
    # The upper edge of the turned box is the left edge of the upright one, read upwards.
    torch.testing.assert_close(turned, plain.rot90(-1, (2, 3)), atol=1e-4, rtol=1e-4)
    assert roi_align_rotated(features, box[:0], (3, 4), 1.0, 0).shape == (0, 2, 3, 4)


@pytest.mark.parametrize("function", [nms_rotated, pairwise_iou_rotated, roi_align_rotated])
def test_compiles_with_torchscript(function: object) -> None:
    scripted = torch.jit.script(function)
    _, boxes = upright(6, 6)
    arguments = {
        nms_rotated: (boxes, torch.arange(6.0), 0.3),
        pairwise_iou_rotated: (boxes, boxes),
        roi_align_rotated: (
            torch.randn(1, 2, 9, 9),
            torch.cat([torch.zeros(6, 1), boxes], 1),
            (3, 4),
            0.1,
            0,
        ),
    }[function]
    torch.testing.assert_close(scripted(*arguments), function(*arguments))

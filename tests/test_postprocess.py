"""Helpers for users of exported files, on sizes where height and width cannot be confused."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2seg.framework import get_cfg
from d2seg.images import prepare_image
from d2seg.postprocess import (
    FileOutputs,
    pad_images,
    paste_masks,
    postprocess,
    rescale_boxes,
    resize_shortest_edge,
    shortest_edge_size,
    slice_batch,
)


def outputs_of(boxes: torch.Tensor, size_hw: tuple[int, int]) -> FileOutputs:
    count = len(boxes)
    masks = torch.ones(count, 1, 28, 28)
    return boxes, torch.arange(count), masks, torch.linspace(1, 0.5, count), torch.tensor(size_hw)


def test_full_mask_fills_its_box() -> None:
    pasted = paste_masks(torch.ones(1, 1, 28, 28), torch.tensor([[10.0, 4.0, 30.0, 9.0]]), (20, 50))
    expected = torch.zeros(20, 50, dtype=torch.bool)
    expected[4:9, 10:30] = True
    assert torch.equal(pasted[0], expected)


def test_three_and_four_dimensions_are_the_same() -> None:
    masks = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.0, 0.0, 40.0, 30.0], [5.5, 2.0, 21.0, 9.0], [-4.0, -4.0, 90.0, 9.0]])
    assert torch.equal(
        paste_masks(masks, boxes, (30, 50)), paste_masks(masks[:, None], boxes, (30, 50))
    )


def test_negative_threshold_keeps_soft_masks() -> None:
    masks = torch.full((1, 1, 28, 28), 0.25)
    soft = paste_masks(masks, torch.tensor([[0.0, 0.0, 40.0, 20.0]]), (20, 50), threshold=-1)
    assert soft.dtype == torch.uint8
    assert int(soft[0, 10, 20]) == 63
    assert not paste_masks(masks, torch.tensor([[0.0, 0.0, 40.0, 20.0]]), (20, 50)).any()


def test_paste_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"masks are \(2, 28, 28\) and boxes \(3, 4\)"):
        paste_masks(torch.ones(2, 28, 28), torch.zeros(3, 4), (20, 50))
    with pytest.raises(ValueError, match=r"image_size_hw must be a positive height and width"):
        paste_masks(torch.ones(2, 28, 28), torch.zeros(2, 4), (0, 50))


def test_rescale_uses_height_then_width() -> None:
    boxes = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert rescale_boxes(boxes, (100, 10), (50, 40)).tolist() == [[4.0, 1.0, 12.0, 2.0]]
    assert boxes.tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_rescaled_boxes_are_where_the_resized_image_has_them() -> None:
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 50, 80
    image = np.zeros((100, 300, 3), dtype=np.uint8)
    image[20:60, 150:240] = 255
    resized = prepare_image(image, cfg)["image"]
    (box,) = rescale_boxes(torch.tensor([[150.0, 20, 240, 60]]), (100, 300), resized.shape[1:])
    # 80 / 300 in x and 27 / 100 in y.
    assert box.tolist() == pytest.approx([40, 5.4, 64, 16.2])
    left, top, right, bottom = box.round().int().tolist()
    assert resized[0, top + 1 : bottom - 1, left + 1 : right - 1].min() > 250
    area = float((box[2] - box[0]) * (box[3] - box[1]))
    assert float(resized[0].sum()) / 255 == pytest.approx(area, rel=0.02)


@settings(deadline=None)
@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_rescaling_there_and_back_returns(height: int, width: int) -> None:
    boxes = torch.tensor([[0.0, 1.0, 17.5, 93.0]])
    there = rescale_boxes(boxes, (480, 640), (height, width))
    torch.testing.assert_close(rescale_boxes(there, (height, width), (480, 640)), boxes)


@pytest.mark.parametrize(
    ("image_hw", "expected"),
    [
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((427, 640), (800, 1199)),
        ((200, 1000), (267, 1333)),  # the longer edge decides
        ((800, 800), (800, 800)),
        ((1, 5000), (1, 1333)),  # never below one pixel
    ],
)
def test_shortest_edge_size(image_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shortest_edge_size(image_hw, 800, 1333) == expected


def test_half_way_cases_round_as_in_detectron2() -> None:
    # 93 * 400 / 480 is 77.5; detectron2 scales twice (to 256, then to 400) and lands just below.
    assert shortest_edge_size((480, 93), 256, 400) == (400, 77)


@pytest.mark.parametrize("short", [40, 150])
def test_resize_is_within_one_grey_value_of_pillow(short: int) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (75, 110, 3), np.uint8)
    resized = resize_shortest_edge(torch.from_numpy(pixels).permute(2, 0, 1).float(), short, 1333)
    height, width = shortest_edge_size((75, 110), short, 1333)
    expected = np.asarray(
        Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    )
    assert resized.shape == (3, height, width)
    difference = (resized - torch.from_numpy(expected.copy()).permute(2, 0, 1)).abs()
    assert difference.max() <= 1.0  # two roundings, after columns and after rows


def test_resize_refuses_other_tensors() -> None:
    with pytest.raises(ValueError, match=r"must be \(C, H, W\), but its shape is \(1, 3, 8, 9\)"):
        resize_shortest_edge(torch.zeros(1, 3, 8, 9), 800, 1333)
    with pytest.raises(TypeError, match=r"must be float, but is torch.uint8; use image.float\(\)"):
        resize_shortest_edge(torch.zeros(3, 8, 9, dtype=torch.uint8), 800, 1333)


def test_postprocess_in_the_size_of_the_input() -> None:
    boxes = torch.tensor([[2.0, 3.0, 12.0, 9.0], [0.0, 0.0, 30.0, 20.0]])
    found = postprocess(outputs_of(boxes, (20, 30)))
    assert torch.equal(found.boxes, boxes)
    assert found.masks.shape == (2, 20, 30)
    assert found.masks.flatten(1).sum(dim=1).tolist() == [60, 600]


def test_postprocess_rescales_clips_and_drops_what_is_empty() -> None:
    boxes = torch.tensor([[2.0, 3.0, 12.0, 9.0], [5.0, 5.0, 5.0, 9.0], [25.0, 10.0, 40.0, 20.0]])
    found = postprocess(outputs_of(boxes, (20, 30)), to_hw=(40, 90))
    assert found.boxes.tolist() == [[6.0, 6.0, 36.0, 18.0], [75.0, 20.0, 90.0, 40.0]]
    assert found.classes.tolist() == [0, 2]
    assert found.scores.tolist() == [1.0, 0.5]
    assert found.masks.flatten(1).sum(dim=1).tolist() == [30 * 12, 15 * 20]


def test_postprocess_of_nothing() -> None:
    found = postprocess(outputs_of(torch.zeros(0, 4), (20, 30)), to_hw=(10, 15))
    assert found.boxes.shape == (0, 4)
    assert found.masks.shape == (0, 10, 15)


def test_postprocess_names_what_is_missing() -> None:
    with pytest.raises(ValueError, match="outputs has 2 entries, but an exported file returns 4"):
        postprocess((torch.zeros(0, 4), torch.zeros(0)))


BOX = torch.tensor([[2.0, 4.0, 8.0, 10.0]])
REST = (torch.tensor([0.9]), torch.tensor([20, 30]))


def test_boxes_alone() -> None:
    found = postprocess((BOX, torch.tensor([3]), *REST), to_hw=(40, 30))
    assert found.boxes.tolist() == [[2.0, 8.0, 8.0, 20.0]]
    assert (found.masks, found.keypoints) == (None, None)


def test_keypoints_are_rescaled_with_the_boxes() -> None:
    points = torch.tensor([[[3.0, 5.0, 0.25], [6.0, 9.0, 0.5]]])
    found = postprocess((BOX, torch.tensor([3]), points, *REST), to_hw=(40, 15))
    assert found.keypoints is not None
    assert found.keypoints.tolist() == [[[1.5, 10.0, 0.25], [3.0, 18.0, 0.5]]]
    assert found.masks is None


def test_masks_and_keypoints_are_told_apart() -> None:
    masks, points = torch.ones(1, 1, 28, 28), torch.zeros(1, 5, 3)
    found = postprocess((BOX, torch.tensor([3]), masks, points, *REST))
    assert found.masks is not None
    assert found.masks.sum() == 36
    assert found.keypoints is not None
    assert found.keypoints.shape == (1, 5, 3)


def test_masks_of_the_image_are_kept_or_resized() -> None:
    full = torch.zeros(1, 20, 30, dtype=torch.bool)
    full[:, 4:10, 2:8] = True
    outputs = (BOX, torch.tensor([3]), full, *REST)
    same = postprocess(outputs).masks
    assert same is not None
    assert torch.equal(same, full)
    larger = postprocess(outputs, to_hw=(40, 90)).masks
    expected = torch.zeros(1, 40, 90, dtype=torch.bool)
    expected[:, 8:20, 6:24] = True
    assert larger is not None
    assert torch.equal(larger, expected)
    nothing = tuple(output[:0] for output in outputs[:-1])
    none = postprocess((*nothing, outputs[-1]), to_hw=(40, 90)).masks
    assert none is not None
    assert none.shape == (0, 40, 90)


def test_images_are_padded_at_the_bottom_and_the_right() -> None:
    images = [torch.ones(3, 4, 9), torch.full((3, 6, 2), 7.0)]
    batch, sizes = pad_images(images)
    assert batch.shape == (2, 3, 6, 9)
    assert sizes.tolist() == [[4, 9], [6, 2]]
    assert torch.equal(batch[0, :, :4, :9], images[0])
    assert torch.equal(batch[1, :, :6, :2], images[1])
    assert batch.sum() == images[0].sum() + images[1].sum()
    with pytest.raises(ValueError, match="images is empty; a batch has at least one image"):
        pad_images([])


@pytest.mark.parametrize("make", [torch.tensor, np.array])
def test_batches_are_cut_into_what_each_image_has(make: Any) -> None:
    outputs = {
        "detections_per_batch": make([[2], [0]]),
        "boxes": make(torch.arange(24.0).reshape(2, 3, 4).tolist()),
        "labels": make([[5, 6, 0], [0, 0, 0]]),
    }
    first, second = slice_batch(outputs)
    assert first["labels"].tolist() == [5, 6]
    assert first["boxes"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert second["boxes"].shape == (0, 4)
    with pytest.raises(ValueError, match="must have 'detections_per_batch', but has boxes, labels"):
        slice_batch({name: value for name, value in outputs.items() if name[0] != "d"})
    with pytest.raises(ValueError, match=r"'labels' has the shape \(2, 1\), which does not hold"):
        slice_batch({**outputs, "labels": make([[5], [0]])})

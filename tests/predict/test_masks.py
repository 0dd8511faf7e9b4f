"""Masks of boxes and masks of images, by the pixels they stand for."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from d2seg.predict.masks import BoxMasks, ImageMasks, encode_window

SIZE_HW = (20, 50)
BOXES = torch.tensor([[10.0, 4.0, 30.0, 9.0], [0.5, 2.5, 21.0, 19.0], [40.0, 10.0, 60.0, 30.0]])


def box_masks() -> BoxMasks:
    probs = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(0))
    probs[0] = 1.0
    return BoxMasks(probs, BOXES, SIZE_HW)


def decode(runs: list[dict[str, Any]]) -> np.ndarray:
    return np.stack([coco_mask.decode(run) for run in runs]).astype(bool)


def test_a_full_mask_fills_its_box() -> None:
    expected = torch.zeros(SIZE_HW, dtype=torch.bool)
    expected[4:9, 10:30] = True
    assert torch.equal(box_masks().paste(0.5)[0], expected)


def test_run_lengths_are_the_pixels() -> None:
    masks = box_masks()
    runs = masks.rle(0.4)
    assert runs[0]["size"] == [20, 50]
    assert isinstance(runs[0]["counts"], str)
    assert np.array_equal(decode(runs), masks.paste(0.4).numpy())


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    share=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    edges=st.tuples(*[st.integers(0, 3)] * 4),
    size_hw=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
def test_a_window_is_encoded_as_pycocotools_encodes_the_image(
    seed: int, share: float, edges: tuple[int, int, int, int], size_hw: tuple[int, int]
) -> None:
    left, top, right, bottom = edges
    window = torch.rand(size_hw, generator=torch.Generator().manual_seed(seed)) < share
    image = np.pad(window.numpy(), ((top, bottom), (left, right)))
    expected = coco_mask.encode(np.asfortranarray(image, dtype=np.uint8))
    found = encode_window(window, (left, top), (image.shape[0], image.shape[1]))
    assert found == {"size": expected["size"], "counts": expected["counts"].decode()}


@pytest.mark.parametrize("whole_pixels", [False, True])
def test_boxes_at_the_edges_of_an_image_have_the_same_run_lengths_as_pixels(
    whole_pixels: bool,
) -> None:
    boxes = torch.rand(40, 4, generator=torch.Generator().manual_seed(1)) * 60 - 5
    boxes = torch.cat([boxes[:, :2].minimum(boxes[:, 2:]), boxes[:, :2].maximum(boxes[:, 2:])], 1)
    probs = torch.rand(40, 28, 28, generator=torch.Generator().manual_seed(2))
    masks = BoxMasks(probs, boxes, SIZE_HW, whole_pixels)
    assert np.array_equal(decode(masks.rle(0.5)), masks.paste(0.5).numpy())
    other = BoxMasks(probs, boxes, SIZE_HW, not whole_pixels)
    assert not np.array_equal(decode(masks[:20].rle(0.5)), other[:20].paste(0.5).numpy())


def test_an_index_keeps_the_boxes_of_its_masks() -> None:
    masks = box_masks()
    chosen = masks[torch.tensor([2, 0])]
    assert len(chosen) == 2
    assert torch.equal(chosen.paste(0.5), masks.paste(0.5)[[2, 0]])


def test_masks_of_the_image_are_given_back() -> None:
    pixels = box_masks().paste(0.5)
    kept = ImageMasks.from_pixels(pixels, SIZE_HW)
    assert torch.equal(kept.paste(0.5), pixels)
    assert np.array_equal(decode(kept.rle(0.5)), pixels.numpy())
    assert torch.equal(kept[torch.tensor([False, True, True])].paste(0.5), pixels[1:])
    assert torch.equal(kept[:1].paste(0.5), pixels[:1])


def test_probabilities_of_the_image_are_judged_by_the_threshold() -> None:
    soft = torch.tensor([[[0.2, 0.3], [0.6, 0.7]]])
    assert ImageMasks.from_pixels(soft, (2, 2), 0.3).paste(0.3).tolist() == [
        [[False, True], [True, True]]
    ]


def test_masks_of_another_size_are_resized_by_height_then_width() -> None:
    pixels = torch.zeros(1, 4, 10, dtype=torch.bool)
    pixels[0, 1:3, 5:] = True
    expected = torch.zeros(1, 8, 30, dtype=torch.bool)
    expected[0, 2:6, 15:] = True
    assert torch.equal(ImageMasks.from_pixels(pixels, (8, 30)).paste(0.5), expected)


def test_no_objects() -> None:
    empty = box_masks()[:0]
    assert empty.paste(0.5).shape == (0, 20, 50)
    assert empty.rle(0.5) == []
    kept = ImageMasks.from_pixels(torch.zeros(0, 20, 50, dtype=torch.bool), SIZE_HW)
    assert kept.paste(0.5).shape == (0, 20, 50)
    assert kept.rle(0.5) == []


def test_finished_masks_have_no_other_threshold() -> None:
    kept = ImageMasks.from_pixels(box_masks().paste(0.5), SIZE_HW)
    with pytest.raises(ValueError, match="threshold is 0.3, but this model gives finished masks"):
        kept.paste(0.3)
    with pytest.raises(ValueError, match="finished masks, with 0.5; leave the threshold out"):
        kept.rle(0.7)

"""Masks as polygons, run lengths and pixels."""

import numpy as np
import pycocotools.mask as mask_util
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2seg.core.utils.generic_mask import GenericMask, trace_outlines

PIXELS = np.zeros((6, 9), np.uint8)
PIXELS[1:5, 2:8] = 1


def test_a_rectangle_is_its_four_corners() -> None:
    (loop,) = trace_outlines(PIXELS)
    assert sorted(map(tuple, loop.tolist())) == [(2, 1), (2, 5), (8, 1), (8, 5)]


def test_holes_are_seen_and_touching_corners_part() -> None:
    with_hole = PIXELS.copy()
    with_hole[2:4, 4:6] = 0
    mask = GenericMask(with_hole, 6, 9)
    assert mask.has_holes
    assert len(mask.polygons) == 1
    diagonal = np.eye(3, dtype=bool)
    assert len(trace_outlines(diagonal)) == 3
    assert trace_outlines(np.zeros((4, 5))) == []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 1), min_size=42, max_size=42))
def test_outlines_enclose_exactly_the_pixels(bits: list[int]) -> None:
    mask = np.array(bits).reshape(6, 7)
    loops = trace_outlines(mask)
    areas = [
        0.5 * (np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
        for x, y in (loop.T for loop in loops)
    ]
    assert sum(areas) == mask.sum()
    # By the rule of even and odd, a pixel is inside an odd number of loops.
    rows, columns = np.mgrid[:6, :7] + 0.5
    crossings = np.zeros((6, 7), int)
    for loop in loops:
        for (x0, y0), (x1, y1) in zip(loop, np.roll(loop, -1, axis=0), strict=True):
            if x0 == x1:
                crosses = (rows > min(y0, y1)) & (rows < max(y0, y1)) & (columns < x0)
                crossings += crosses
    np.testing.assert_array_equal(crossings % 2, mask)


def test_all_forms_are_one_mask() -> None:
    run_lengths = mask_util.encode(np.asfortranarray(PIXELS))
    plain = {"size": [6, 9], "counts": [13, 4, 2, 4, 2, 4, 2, 4, 2, 4, 2, 4, 7]}
    polygon = [[2.0, 1.0, 8.0, 1.0, 8.0, 5.0, 2.0, 5.0]]
    for form in (PIXELS, PIXELS.astype(bool), run_lengths, plain, polygon):
        mask = GenericMask(form, 6, 9)
        np.testing.assert_array_equal(mask.mask, PIXELS)
        assert mask.area() == 24
        assert mask.bbox().tolist() == [2, 1, 8, 5]
        assert len(mask.polygons) == 1
    assert GenericMask(np.zeros((6, 9)), 6, 9).bbox().tolist() == [0, 0, 0, 0]


def test_what_is_no_mask_is_named() -> None:
    with pytest.raises(TypeError, match="found str"):
        GenericMask("mask", 6, 9)
    with pytest.raises(ValueError, match="at least three x, y pairs"):
        GenericMask([[0.0, 0.0, 1.0, 1.0]], 6, 9)
    with pytest.raises(ValueError, match=r"\(6, 9\), but the image has height 9 and width 6"):
        GenericMask(PIXELS, 9, 6)

from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2seg.check_data.outlines import (
    covered_area,
    measure_outline,
    polygon_area,
    polygon_fault,
)
from d2seg.core.runtime.untrusted.run_lengths import decode_counts, rle_fault

shapes = st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**32 - 1))


def encode(mask: np.ndarray) -> dict[str, Any]:
    encoded = mask_util.encode(np.asfortranarray(mask))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def run_lengths(mask: np.ndarray) -> list[int]:
    """Count pixel by pixel, column by column, beginning with those outside."""
    lengths, current = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != current:
            lengths.append(0)
            current = pixel
        lengths[-1] += 1
    return lengths


@settings(deadline=None)
@given(shapes)
def test_compressed_counts_are_those_of_the_mask(shape: tuple[int, int, int]) -> None:
    height, width, seed = shape
    mask = np.random.RandomState(seed).randint(0, 2, (height * 9, width), np.uint8)
    encoded = encode(mask)
    assert decode_counts(encoded["counts"]).tolist() == run_lengths(mask)
    assert rle_fault(encoded) is None
    assert rle_fault({"size": list(mask.shape), "counts": run_lengths(mask)}) is None


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=127), max_size=30))
def test_damaged_text_is_a_fault_and_never_a_crash(text: str) -> None:
    segmentation = {"size": [5, 7], "counts": text}
    fault = rle_fault(segmentation)
    if fault is None:
        assert decode_counts(text).sum() == 35
    else:
        assert measure_outline(segmentation) is None


@pytest.mark.parametrize("compressed", [True, False])
def test_an_rle_is_measured(compressed: bool) -> None:
    mask = np.zeros((6, 9), np.uint8)
    mask[1:3, 4:8] = 1
    segmentation = encode(mask) if compressed else {"size": [6, 9], "counts": run_lengths(mask)}
    outline = measure_outline(segmentation)
    assert outline == ((4, 1, 8, 3), 8, 1)


def test_polygons_are_measured_together() -> None:
    outline = measure_outline([[2, 1, 6, 1, 6, 3, 2, 3], [10, 10, 12, 10, 10, 14], [0, 0, 1, 1]])
    assert outline == ((2, 1, 12, 14), 12, 2)


def test_the_area_keeps_its_digits_far_from_the_origin() -> None:
    assert polygon_area([1e7, 1e7, 1e7 + 0.1, 1e7, 1e7, 1e7 + 0.1]) == pytest.approx(
        0.005, rel=1e-6
    )


def test_overlaps_are_covered_once() -> None:
    square = [2.0, 1, 8, 1, 8, 5, 2, 5]
    assert covered_area([square, square], (10, 20)) == pytest.approx(24, abs=1)
    assert covered_area([[15.0, 5, 1e9, 5, 1e9, 9, 15, 9]], (10, 20)) == pytest.approx(20, abs=1)


@pytest.mark.parametrize(
    ("polygon", "fault"),
    [
        ([0, 0, 5, 0, 0, 5], None),
        ([0, 0, 5, 0, 0], "of 5 numbers, which are not pairs of x and y"),
        ([0, 0, 5, 0], "of 2 points, fewer than three"),
        ([], "of 0 points, fewer than three"),
        ([0, 0, 5, 5, 9, 9], "without area"),
    ],
)
def test_polygon_faults(polygon: list[float], fault: str | None) -> None:
    assert polygon_fault(polygon) == fault


@pytest.mark.parametrize(
    "segmentation", [None, [], [[0, 0, 1, 1]], {"size": [2, 2], "counts": [4]}]
)
def test_nothing_usable_has_no_outline(segmentation: Any) -> None:
    assert measure_outline(segmentation) is None


def test_no_pixels_are_no_fault() -> None:
    assert rle_fault({"size": [0, 0], "counts": ""}) is None

"""Masks that pycocotools would crash on, or take all memory for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest

from d2seg.core.data.datasets.coco import load_coco_json
from d2seg.core.data.detection_utils import annotations_to_instances
from d2seg.core.runtime.untrusted.run_lengths import (
    compress_rle,
    decode_rle,
    draw_polygons,
    paint_polygons,
    paint_runs,
    read_rle,
)
from d2seg.core.structures import BoxMode

MASK = np.zeros((4, 7), np.uint8)
MASK[1:3, 2:6] = 1
TEXT = mask_util.encode(np.asfortranarray(MASK))


@pytest.mark.parametrize(
    "segmentation",
    [
        TEXT,
        {**TEXT, "counts": TEXT["counts"].decode()},
        {"size": [4, 7], "counts": [9, 2, 2, 2, 2, 2, 2, 2, 5]},
    ],
)
def test_both_forms(segmentation: dict[str, Any]) -> None:
    assert decode_rle(segmentation).tolist() == MASK.tolist()
    assert mask_util.area(compress_rle(segmentation)) == 8


CRASHES = [
    (
        {"size": [10, 10], "counts": "0" * 1000},
        "A mask (RLE) counts 0 pixels, but its",
    ),
    ({"size": [10**6, 10**6], "counts": "1"}, "has the size 1000000 x 1000000"),
    ({"size": [-4, 7], "counts": [1]}, "has the size -4 x 7"),
    ({"size": [4, 7], "counts": [2**40]}, "has a count that is larger than any image"),
    ({"size": [4, 7], "counts": [-28, 56]}, "has a negative count, -28"),
    ({"size": [4, 7], "counts": "ooooo"}, "breaks off in the middle of a number"),
    ({"size": [4, 7], "counts": "\x00"}, "has characters that no compressed RLE has"),
    ({"size": [4, 7], "counts": {}}, "is no dict of 'size' and 'counts'"),
    ({"size": [4, 7], "counts": ["a"]}, "is no dict of 'size' and 'counts'"),
    ({"size": [4], "counts": []}, "is no dict of 'size' and 'counts'"),
    ({"counts": []}, "is no dict of 'size' and 'counts'"),
    ("text", "is no dict of 'size' and 'counts'"),
]


@pytest.mark.parametrize(("segmentation", "message"), CRASHES)
def test_what_pycocotools_crashes_on(segmentation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"; run d2seg check-data") as caught:
        decode_rle(segmentation)
    assert message in str(caught.value)


def test_a_data_set_with_such_masks(tmp_path: Path) -> None:
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "iscrowd": 0}
    content: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.png", "width": 7, "height": 4}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{**annotation, "segmentation": CRASHES[4][0]}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="has a negative count, -28"):
        load_coco_json(str(tmp_path / "a.json"), str(tmp_path))
    record = {"bbox": [0, 0, 4, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    record["segmentation"] = CRASHES[0][0]
    with pytest.raises(ValueError, match="counts 0 pixels"):
        annotations_to_instances([record], (4, 7), mask_format="bitmask")


@pytest.mark.parametrize("far", [1e9, float("inf"), float("nan")])
def test_polygons_far_outside(far: float) -> None:
    assert draw_polygons([[1, 1, 5, 1, 5, 3, 1, 3]], 4, 7).sum() == 8
    with pytest.raises(ValueError, match=r"outline of a polygon is \S+ pixels long"):
        draw_polygons([[0, 0, far, 0, far, 3, 0, 3]], 4, 7)


def random_masks() -> list[np.ndarray]:
    """Masks with one part, several, at each border, of single pixels, full and empty."""
    chance = np.random.default_rng(0)
    masks = [np.zeros((9, 13), np.uint8), np.ones((9, 13), np.uint8)]
    for _ in range(200):
        mask = np.zeros((9, 13), np.uint8)
        for _ in range(chance.integers(1, 4)):
            top, left = chance.integers(9), chance.integers(13)
            height, width = chance.integers(1, 7, 2)
            mask[top : top + height, left : left + width] ^= 1
        masks.append(mask)
    return masks


@pytest.mark.parametrize("as_text", [True, False])
def test_painted_runs_are_the_decoded_mask(as_text: bool) -> None:
    for mask in random_masks():
        rle = mask_util.encode(np.asfortranarray(mask))
        if not as_text:
            rle = {"size": [9, 13], "counts": read_rle(rle)[0].tolist()}
        counts, size_hw = read_rle(rle)
        assert size_hw == (9, 13)
        painted = np.zeros((9, 13), bool)
        paint_runs(counts, 9, painted)
        assert np.array_equal(painted, decode_rle(rle))


def test_painted_runs_show_any_rows_and_columns() -> None:
    chance = np.random.default_rng(1)
    for mask in random_masks():
        counts, _ = read_rle(mask_util.encode(np.asfortranarray(mask)))
        rows = np.sort(chance.integers(9, size=chance.integers(0, 15)))
        columns = np.sort(chance.integers(13, size=chance.integers(0, 20)))[::-1]
        painted = np.zeros((len(rows), len(columns)), np.uint8)
        paint_runs(counts, 9, painted, rows, columns)
        assert np.array_equal(painted, mask[rows][:, columns])


def test_painted_polygons_are_the_drawn_ones() -> None:
    chance = np.random.default_rng(2)
    for parts in (1, 1, 1, 2, 3) * 20:
        polygons = [chance.uniform(-5, 45, 2 * chance.integers(3, 9)) for _ in range(parts)]
        painted = np.zeros((23, 37), bool)
        paint_polygons(polygons, painted)
        assert np.array_equal(painted, draw_polygons(polygons, 23, 37))
    nothing = np.zeros((23, 37), bool)
    paint_polygons([], nothing)
    assert not nothing.any()

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from d2seg.check_data import check_dataset, write_corrected
from d2seg.check_data.corrections.masks import clip_polygon
from d2seg.check_data.outlines import covered_area, polygon_area
from tests.check_data.conftest import HEIGHT, WIDTH, DataFolder
from tests.check_data.defects import (
    FIXABLE,
    ORIENTATION,
    Seed,
    append,
    boxes_as,
    copy_image,
    save_with_orientation,
)


def correct(folder: DataFolder) -> tuple[dict[str, Any], list[str]]:
    """Write the corrected copy; return what is in it and what was told."""
    target = folder.json.with_name("corrected.json")
    _, lines = write_corrected(folder.check(), target)
    return json.loads(target.read_text()), lines


@pytest.mark.parametrize(("seed", "severity", "kind"), FIXABLE.values(), ids=FIXABLE)
def test_the_copy_passes_the_check(
    folder: DataFolder, seed: Seed, severity: str, kind: str
) -> None:
    seed(folder)
    report = folder.check()
    before, target = folder.json.read_bytes(), folder.json.with_name("corrected.json")
    corrected, lines = write_corrected(report, target)
    assert lines
    assert folder.json.read_bytes() == before
    again = check_dataset(str(target), str(folder.images))
    assert again.findings == corrected.findings
    # What was dropped may leave an image or a category without annotations.
    assert {f.severity for f in again.findings} <= {"note"}


def test_clean_data_is_copied_as_it_is(folder: DataFolder) -> None:
    content, lines = correct(folder)
    assert content == folder.content
    assert lines == []


def test_other_fields_are_kept(folder: DataFolder) -> None:
    folder.content["licenses"] = [{"id": 1}]
    folder.annotation(area=6000, note="mine")
    content, lines = correct(folder)
    assert content["licenses"] == [{"id": 1}]
    assert content["annotations"][0] == {**folder.content["annotations"][0], "area": 600.0}
    assert lines == ["areas computed: 1 (such as annotation 1)"]


def test_boxes_are_clipped_or_taken_from_the_mask(folder: DataFolder) -> None:
    folder.annotation(bbox=[10, 5, 80, 20], area=1000)
    del folder.content["annotations"][0]["segmentation"]
    folder.content["annotations"][1]["bbox"] = [0, 0, 60, 40]
    content, _ = correct(folder)
    assert content["annotations"][0]["bbox"] == [10, 5, 50, 20]
    assert content["annotations"][1]["bbox"] == [0, 0, 20, 30]


def test_ids_are_renumbered_after_the_largest(folder: DataFolder) -> None:
    append("annotations", 0, image_id=2)(folder)
    append("annotations", 0, image_id=3, id=0)(folder)
    content, _ = correct(folder)
    assert [annotation["id"] for annotation in content["annotations"]] == [1, 2, 3, 4, 5]


def test_an_image_listed_twice_gets_all_annotations(folder: DataFolder) -> None:
    append("images", 0, id=4)(folder)
    append("annotations", 0, id=4, image_id=4)(folder)
    append("annotations", 1, id=5, image_id=4)(folder)
    content, lines = correct(folder)
    assert [(a["id"], a["image_id"]) for a in content["annotations"]] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (5, 1),
    ]
    assert "annotations dropped: the same as another: 1 (such as annotation 4)" in lines


def test_of_equal_images_the_annotated_one_is_kept(folder: DataFolder) -> None:
    copy_image(folder)
    folder.annotation(image_id=4)
    content, _ = correct(folder)
    assert [image["file_name"] for image in content["images"]] == ["b.png", "c.png", "d.png"]
    assert content["annotations"][0]["image_id"] == 4


def test_an_image_that_does_not_fit_its_annotations_is_dropped(folder: DataFolder) -> None:
    Image.new("RGB", (WIDTH // 2, HEIGHT // 2)).save(folder.images / "a.png")
    content, lines = correct(folder)
    assert [image["file_name"] for image in content["images"]] == ["b.png", "c.png"]
    assert any("file of another size" in line for line in lines)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_annotations_turn_with_their_image(folder: DataFolder, orientation: int) -> None:
    # One white rectangle with its mask, its box, and a keypoint at its top left pixel.
    left, top, width, height = 30, 10, 20, 8
    picture = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(picture).rectangle((left, top, left + width - 1, top + height - 1), 255)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture.save(folder.images / "a.png", exif=exif)
    mask = np.asarray(picture) > 0
    column_counts = np.diff(np.flatnonzero(np.diff(np.r_[0, mask.T.ravel(), 0])), prepend=0)
    counts = [*column_counts.tolist(), HEIGHT * WIDTH - int(column_counts.sum())]
    right, bottom = left + width, top + height
    folder.content["categories"][0]["keypoints"] = ["corner"]
    folder.annotation(
        bbox=[left, top, width, height],
        area=width * height,
        segmentation=[[left, top, right, top, right, bottom, left, bottom]],
        keypoints=[left, top, 2],
        num_keypoints=1,
    )
    encoded = {"id": 4, "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}}
    append("annotations", 0, **encoded)(folder)
    folder.content["annotations"][2].update(keypoints=[0, 0, 0], num_keypoints=0)
    assert ("error", "size before EXIF rotation") in folder.kinds()
    content, lines = correct(folder)
    assert lines[0].startswith("sizes and annotations turned by the EXIF orientation: 1")

    upright = np.asarray(ImageOps.exif_transpose(Image.open(folder.images / "a.png")))
    rows, columns = np.nonzero(upright)
    box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    polygon_one, rle_one = content["annotations"][0], content["annotations"][-1]
    image = content["images"][0]
    assert (image["width"], image["height"]) == (HEIGHT, WIDTH)
    assert polygon_one["bbox"] == box
    x, y, _ = map(int, polygon_one["keypoints"])
    assert upright[y, x] == 255
    report = check_dataset(str(folder.json.with_name("corrected.json")), str(folder.images))
    assert report.data is not None
    extents = {report.data.outlines[p].extent_xyxy for p in (0, len(content["annotations"]) - 1)}
    assert extents == {(box[0], box[1], box[0] + box[2], box[1] + box[3])}
    assert rle_one["segmentation"]["size"] == [WIDTH, HEIGHT]


def test_annotations_of_the_upright_image_stay(folder: DataFolder) -> None:
    save_with_orientation(6)(folder)
    upright = [5, 45, 15, 14]  # below the 40 rows of the stored pixels
    folder.annotation(bbox=upright, area=210)
    del folder.content["annotations"][0]["segmentation"]
    content, lines = correct(folder)
    assert content["annotations"][0]["bbox"] == upright
    assert lines == ["sizes set to those of the upright file: 1 (such as 'a.jpg', now 40 x 60)"]


def test_what_only_a_person_can_decide_is_refused(folder: DataFolder) -> None:
    append("categories", 0, name="nucleus")(folder)
    with pytest.raises(ValueError, match="Category id 1 stands for 'cell' and for 'nucleus'."):
        correct(folder)
    assert not folder.json.with_name("corrected.json").exists()


def test_nothing_is_written_if_nothing_is_left(folder: DataFolder) -> None:
    for path in folder.images.iterdir():
        path.unlink()
    with pytest.raises(
        ValueError, match="No image could be kept, so nothing is written; the images"
    ):
        correct(folder)


def test_numbers_with_a_fraction_of_zero_become_whole(folder: DataFolder) -> None:
    original = json.loads(json.dumps(folder.content))
    folder.content["images"][0].update(id=1.0, width=60.0)
    folder.content["categories"][0]["id"] = 1.0
    folder.annotation(id=1.0, image_id=1.0, category_id=1.0)
    content, lines = correct(folder)
    assert json.dumps(content) == json.dumps(original)
    assert lines == [
        "whole numbers written without a fraction: 3 (such as category 1)",
    ]


def test_boxes_of_another_format_are_refused(folder: DataFolder) -> None:
    boxes_as(lambda box: [value / 60 for value in box])(folder)
    with pytest.raises(ValueError, match="fractions of the image, not pixels. Convert the boxes"):
        correct(folder)


def test_the_annotation_file_is_never_written(folder: DataFolder, tmp_path: Path) -> None:
    report = folder.check()
    (tmp_path / "link.json").symlink_to(folder.json)
    with pytest.raises(ValueError, match="is the annotation file itself, which is never"):
        write_corrected(report, tmp_path / "link.json")
    folder.json.write_text("{}")
    with pytest.raises(ValueError, match="has changed and is no COCO file any more."):
        write_corrected(report, tmp_path / "corrected.json")


def test_clipping_cuts_edges_where_they_leave_the_image() -> None:
    clipped = clip_polygon([5, 5, 20, 15, 5, 25], (40, 10))
    assert polygon_area(clipped) == pytest.approx(5 * (20 + 40 / 3) / 2)
    assert max(clipped[::2]) == 10
    assert clip_polygon([50, 50, 60, 50, 60, 60], (40, 10)) == []


coordinate = st.integers(-30, 60)
points = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=6)


@settings(deadline=None)
@given(points)
def test_clipping_leaves_what_is_inside(corners: list[tuple[int, int]]) -> None:
    height, width = 30, 40
    polygon = shapely.Polygon(corners)
    assume(polygon.is_valid)
    clipped = clip_polygon(
        [float(value) for corner in corners for value in corner], (height, width)
    )
    inside = polygon.intersection(shapely.box(0, 0, width, height))
    assert (polygon_area(clipped) if clipped else 0) == pytest.approx(inside.area, abs=1e-6)


def test_a_polygon_that_crosses_itself_is_clipped() -> None:
    clipped = clip_polygon([0, 0, 20, 20, 20, 0, 0, 20], (30, 15))
    assert covered_area([clipped], (30, 15)) == pytest.approx(100 + 25, abs=5)

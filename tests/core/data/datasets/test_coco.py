"""Reading data sets in COCO's format."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pycocotools.mask as mask_util
import pytest

from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets import load_coco_json, register_coco_instances
from d2seg.core.structures import BoxMode

NAME = "coco_test_set"
SQUARE = [1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0]


def annotation(**changes: Any) -> dict[str, Any]:
    plain = {"id": 1, "image_id": 7, "category_id": 3, "iscrowd": 0, "bbox": [1, 1, 2, 2]}
    return {**plain, **changes}


def content(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": [
            {"id": 9, "file_name": "b.png", "height": 4, "width": 5},
            {"id": 7, "file_name": "a.png", "height": 6, "width": 8},
        ],
        "annotations": list(annotations),
        "categories": [{"id": 90, "name": "cell"}, {"id": 3, "name": "nucleus"}],
    }


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "instances.json"
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.pop(NAME, None)


def write(file: Path, *annotations: dict[str, Any]) -> Path:
    file.write_text(json.dumps(content(*annotations)))
    return file


def test_images_come_by_id_with_contiguous_categories(file: Path) -> None:
    write(file, annotation(category_id=90, segmentation=[SQUARE]), annotation(image_id=9))
    first, second = load_coco_json(file, "images", NAME)
    assert (first["file_name"], first["height"], first["width"]) == ("images/a.png", 6, 8)
    assert first["image_id"] == 7 and second["image_id"] == 9
    (record,) = first["annotations"]
    assert record["category_id"] == 1
    assert record["bbox_mode"] == BoxMode.XYWH_ABS and record["bbox"] == [1, 1, 2, 2]
    assert record["segmentation"] == [SQUARE]
    assert MetadataCatalog.get(NAME).thing_classes == ["nucleus", "cell"]
    assert MetadataCatalog.get(NAME).thing_dataset_id_to_contiguous_id == {3: 0, 90: 1}


def test_bad_polygons_are_dropped_and_counted(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = [1.0, 1.0, 3.0, 1.0]
    write(file, annotation(segmentation=[line, SQUARE]), annotation(id=2, segmentation=[line]))
    with caplog.at_level(logging.WARNING):
        (record,) = load_coco_json(file, "")[0]["annotations"]
    assert record["segmentation"] == [SQUARE]
    assert "1 object(s) without a valid polygon" in caplog.text


def test_uncompressed_rle_is_compressed(file: Path) -> None:
    write(file, annotation(segmentation={"size": [6, 8], "counts": [6, 4, 38]}))
    (record,) = load_coco_json(file, "")[0]["annotations"]
    assert mask_util.area(record["segmentation"]) == 4


def test_keypoints_move_by_half_a_pixel(file: Path) -> None:
    write(file, annotation(keypoints=[1, 2, 2, 0, 0, 0], colour="red"))
    (record,) = load_coco_json(file, "", extra_annotation_keys=["colour"])[0]["annotations"]
    assert record["keypoints"] == [1.5, 2.5, 2, 0.5, 0.5, 0]
    assert record["colour"] == "red"


def test_registering_reads_nothing(file: Path) -> None:
    register_coco_instances(NAME, {"licence": "CC0"}, str(file), "images")
    metadata = MetadataCatalog.get(NAME)
    assert (metadata.licence, metadata.evaluator_type) == ("CC0", "coco")
    with pytest.raises(FileNotFoundError, match=r"no annotation file '.*instances\.json'"):
        DatasetCatalog.get(NAME)
    write(file)
    assert len(DatasetCatalog.get(NAME)) == 2
    with pytest.raises(TypeError, match="'image_root'; found a NoneType"):
        register_coco_instances("other", {}, str(file), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a JSON file"),
        ("[]", "has no list 'images'"),
        ('{"images": [], "annotations": []}', "has no list 'categories'"),
        (json.dumps(content(annotation(bbox=[]))), "Annotation 1 of .* four numbers"),
        (json.dumps(content(annotation(category_id=4))), "category 4, .* defined: 3, 90"),
        (json.dumps(content(annotation(image_id=8))), r"1 image\(s\) .* image id 8"),
    ],
)
def test_a_broken_file_is_said_in_one_sentence(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_coco_json(file, "")


def test_without_a_name_category_ids_stay(file: Path) -> None:
    write(file, annotation(category_id=90))
    (record,) = load_coco_json(file, "")[0]["annotations"]
    assert record["category_id"] == 90


def test_a_file_without_annotations_has_images(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(json.dumps({k: v for k, v in content().items() if k != "annotations"}))
    images = load_coco_json(file, "")
    assert [image["annotations"] for image in images] == [[], []]
    assert "there are no annotations in this file" in caplog.text

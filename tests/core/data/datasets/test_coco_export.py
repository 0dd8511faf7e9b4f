"""Writing data sets in COCO's format: what is written is read back as it was."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest

from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets import (
    convert_to_coco_dict,
    convert_to_coco_json,
    load_coco_json,
    register_coco_instances,
)
from d2seg.core.structures import BoxMode

NUCLEI = Path(__file__).parents[3] / "data" / "nuclei"
NAME = "coco_export_test_set"


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    for name in (NAME, f"{NAME}_again"):
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)


def register(*annotations: dict[str, Any], **image: Any) -> None:
    record = {"file_name": "a.png", "height": 20, "width": 30, "annotations": list(annotations)}
    DatasetCatalog.register(NAME, lambda: [{**record, **image}])
    MetadataCatalog.get(NAME).set(thing_classes=["cell", "nucleus"])


def ring() -> np.ndarray:
    y, x = np.mgrid[:20, :30]
    distance = np.hypot(y - 10, x - 15)
    return np.asfortranarray((distance > 3) & (distance < 8), dtype=np.uint8)


@pytest.mark.parametrize("compressed", [True, False])
def test_an_rle_survives(tmp_path: Path, compressed: bool) -> None:
    mask = ring()
    flat = mask.flatten(order="F").astype(int)
    edges = [0, *np.flatnonzero(np.diff(flat)) + 1, flat.size]
    uncompressed = {"size": [20, 30], "counts": np.diff(edges).tolist()}
    register(
        {
            "bbox": list(np.array([7, 2, 23, 18])),
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": 1,
            "segmentation": mask_util.encode(mask) if compressed else uncompressed,
        }
    )
    convert_to_coco_json(NAME, str(tmp_path / "new" / "a.json"))
    (image,) = load_coco_json(tmp_path / "new" / "a.json", "images")
    (annotation,) = image["annotations"]
    assert np.array_equal(mask_util.decode(annotation["segmentation"]), mask)
    assert annotation["bbox"] == [7.0, 2.0, 16.0, 16.0] and annotation["category_id"] == 1
    (written,) = json.loads((tmp_path / "new" / "a.json").read_text())["annotations"]
    assert written["area"] == mask.sum() and written["id"] == 1


def test_rotated_boxes_and_keypoints() -> None:
    register(
        {"bbox": [10, 10, 8, 4, 30], "bbox_mode": BoxMode.XYWHA_ABS, "category_id": 0},
        {
            "bbox": [1, 2, 3.00049, 4],
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": 1,
            "iscrowd": 1,
            "keypoints": [1.5, 2.5, 2, 0.5, 0.5, 0],
        },
        {
            "bbox": [0, 0, 4, 3],
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": 1,
            "segmentation": [np.array([0.0, 0, 4, 0, 4, 3]), [0, 0, 1, 0, 1, 1, 0, 1]],
        },
        image_id="x1",
    )
    content = convert_to_coco_dict(NAME)
    assert content["images"] == [{"id": "x1", "width": 30, "height": 20, "file_name": "a.png"}]
    rotated, crowd, polygons = content["annotations"]
    assert rotated["bbox"] == [10.0, 10.0, 8.0, 4.0, 30.0] and rotated["area"] == 32.0
    assert crowd["bbox"] == [1.0, 2.0, 3.0, 4.0] and crowd["iscrowd"] == 1
    assert crowd["keypoints"] == [1.0, 2.0, 2.0, 0.0, 0.0, 0.0] and crowd["num_keypoints"] == 1
    assert polygons["area"] == 7.0
    assert polygons["segmentation"] == [[0, 0, 4, 0, 4, 3], [0, 0, 1, 0, 1, 1, 0, 1]]
    json.dumps(content)


def test_real_annotations_survive(tmp_path: Path) -> None:
    register_coco_instances(NAME, {}, str(NUCLEI / "instances_val.json"), str(NUCLEI / "images"))
    images = DatasetCatalog.get(NAME)
    convert_to_coco_json(NAME, str(tmp_path / "again.json"))
    register_coco_instances(f"{NAME}_again", {}, str(tmp_path / "again.json"), "")
    again = DatasetCatalog.get(f"{NAME}_again")
    original = json.loads((NUCLEI / "instances_val.json").read_text())
    written = json.loads((tmp_path / "again.json").read_text())
    assert [c["id"] for c in written["categories"]] == [c["id"] for c in original["categories"]]
    for before, after in zip(images, again, strict=True):
        assert (before["file_name"], before["image_id"]) == (after["file_name"], after["image_id"])
        for old, new in zip(before["annotations"], after["annotations"], strict=True):
            assert new["bbox"] == pytest.approx(old["bbox"], abs=1e-3)
            assert new["segmentation"] == old["segmentation"]


def test_a_file_that_exists_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    register()
    file = tmp_path / "a.json"
    file.write_text("kept")
    with caplog.at_level(logging.WARNING):
        convert_to_coco_json(NAME, str(file))
    assert file.read_text() == "kept" and "remove it if the data set" in caplog.text
    convert_to_coco_json(NAME, str(file), allow_cached=False)
    assert json.loads(file.read_text())["annotations"] == []

"""Panoptic data sets, whole and as instances plus label maps."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets import (
    load_coco_panoptic_json,
    load_sem_seg,
    register_coco_panoptic,
    register_coco_panoptic_separated,
)
from d2seg.core.data.datasets.coco_panoptic import merge_to_panoptic

NAME = "panoptic_test_set"
META = {
    "thing_classes": ["cell"],
    "thing_dataset_id_to_contiguous_id": {3: 0},
    "stuff_dataset_id_to_contiguous_id": {7: 1, 0: 0},
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    segments = [{"id": 5, "category_id": 3}, {"id": 6, "category_id": 7}]
    annotation = {"image_id": "12", "file_name": "a.png", "segments_info": segments}
    (tmp_path / "panoptic.json").write_text(json.dumps({"annotations": [annotation]}))
    instances: dict[str, Any] = {
        "images": [{"id": 12, "file_name": "a.jpg", "height": 4, "width": 5}],
        "categories": [{"id": 3, "name": "cell"}],
        "annotations": [{"id": 1, "image_id": 12, "category_id": 3, "bbox": [0, 0, 2, 2]}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    for kind, name in (("images", "a.jpg"), ("labels", "a.png")):
        (tmp_path / kind).mkdir()
        Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / kind / name)
    yield tmp_path
    for suffix in ("", "_separated", "_stuffonly"):
        DatasetCatalog.pop(NAME + suffix, None)
        MetadataCatalog.pop(NAME + suffix, None)


def test_segments_get_contiguous_ids(folder: Path) -> None:
    register_coco_panoptic(NAME, META, "images", "panoptic", str(folder / "panoptic.json"))
    (image,) = DatasetCatalog.get(NAME)
    assert image == {
        "file_name": "images/a.jpg",
        "image_id": 12,
        "pan_seg_file_name": "panoptic/a.png",
        "segments_info": [
            {"id": 5, "category_id": 0, "isthing": True},
            {"id": 6, "category_id": 1, "isthing": False},
        ],
    }
    assert MetadataCatalog.get(NAME).json_file is None


def test_instances_and_label_maps_come_together(folder: Path) -> None:
    images, labels = folder / "images", folder / "labels"
    register_coco_panoptic_separated(
        NAME,
        META,
        str(images),
        "panoptic",
        str(folder / "panoptic.json"),
        str(labels),
        str(folder / "instances.json"),
    )
    (image,) = DatasetCatalog.get(f"{NAME}_separated")
    assert image["file_name"] == str(images / "a.jpg")
    assert image["sem_seg_file_name"] == str(labels / "a.png")
    assert [annotation["category_id"] for annotation in image["annotations"]] == [0]
    (pair,) = DatasetCatalog.get(f"{NAME}_stuffonly")
    assert pair == {key: image[key] for key in ("file_name", "sem_seg_file_name")}
    assert MetadataCatalog.get(f"{NAME}_separated").sem_seg_root == str(labels)


def test_what_does_not_belong_together(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "images" / "b.jpg").touch()
    assert len(load_sem_seg(str(folder / "labels"), str(folder / "images"))) == 1
    assert "1 files in" in caplog.text
    with pytest.raises(ValueError, match=r"No \.tif file in .* has the name of a \.png file"):
        load_sem_seg(str(folder / "labels"), str(folder / "images"), image_ext="tif")
    with pytest.raises(FileNotFoundError, match="no folder 'nowhere'"):
        load_sem_seg("nowhere", str(folder / "images"))
    with pytest.raises(ValueError, match="1 of 1 images have no label map, such as x.jpg"):
        merge_to_panoptic([{"file_name": "x.jpg"}], [])


def test_broken_panoptic_files(folder: Path) -> None:
    file = folder / "panoptic.json"
    with pytest.raises(ValueError, match="has the category 7, which the metadata lacks"):
        load_coco_panoptic_json(
            str(file), "", "", {**META, "stuff_dataset_id_to_contiguous_id": {}}
        )
    file.write_text('{"annotations": []}')
    with pytest.raises(ValueError, match="has no annotations"):
        load_coco_panoptic_json(str(file), "", "", META)

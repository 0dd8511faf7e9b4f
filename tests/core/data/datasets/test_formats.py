"""LVIS, Pascal VOC and Cityscapes, on small data sets of their form."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
from PIL import Image

from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets import (
    get_lvis_instances_meta,
    load_lvis_json,
    load_voc_instances,
    register_lvis_instances,
    register_pascal_voc,
)
from d2seg.core.data.datasets.cityscapes import (
    load_cityscapes_instances,
    load_cityscapes_semantic,
)
from d2seg.core.data.datasets.cityscapes_panoptic import load_cityscapes_panoptic
from d2seg.core.structures import BoxMode

NAME = "formats_test_set"
SQUARE = [1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0]


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.pop(NAME, None)


@pytest.fixture
def lvis(tmp_path: Path) -> Path:
    content: dict[str, Any] = {
        "images": [
            {"id": 8, "height": 4, "width": 5, "coco_url": "http://x/train2017/08.jpg"},
            {
                "id": 2,
                "height": 4,
                "width": 5,
                "file_name": "COCO_val2014_000000000002.jpg",
                "neg_category_ids": [1],
            },
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 8,
                "category_id": 2,
                "bbox": [1, 1, 2, 2],
                "segmentation": [SQUARE, [1.0, 1.0]],
                "area": 4,
            }
        ],
        "categories": [
            {"id": 2, "synonyms": ["ant", "emmet"], "image_count": 3},
            {"id": 1, "synonyms": ["aerosol_can"], "image_count": 7},
        ],
    }
    (tmp_path / "lvis.json").write_text(json.dumps(content))
    return tmp_path / "lvis.json"


def test_lvis(lvis: Path) -> None:
    register_lvis_instances(NAME, {"licence": "x"}, str(lvis), "coco/")
    first, second = DatasetCatalog.get(NAME)
    assert (first["image_id"], first["file_name"]) == (2, "coco/000000000002.jpg")
    assert first["neg_category_ids"] == [1] and first["annotations"] == []
    assert second["file_name"] == "coco/train2017/08.jpg"
    assert second["annotations"] == [
        {
            "bbox": [1, 1, 2, 2],
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": 1,
            "segmentation": [SQUARE],
        }
    ]
    metadata = MetadataCatalog.get(NAME)
    assert metadata.thing_classes == ["aerosol_can", "ant"]
    assert metadata.class_image_count == [{"id": 1, "image_count": 7}, {"id": 2, "image_count": 3}]
    assert get_lvis_instances_meta(NAME)["thing_classes"] == ["aerosol_can", "ant"]
    assert len(get_lvis_instances_meta("lvis_v0.5_val_cocofied")["thing_classes"]) == 80


def test_masks_of_lvis_may_be_run_lengths(lvis: Path) -> None:
    content = json.loads(lvis.read_text())
    # Column by column, in a picture 4 high and 5 wide: rows 1 and 2 of columns 1 and 2.
    masks: list[dict[str, Any]] = [{"size": [4, 5], "counts": [5, 2, 2, 2, 9]}]
    masks.append(mask_util.frPyObjects(masks[0], 4, 5))
    masks[1]["counts"] = masks[1]["counts"].decode()
    content["annotations"] = [
        content["annotations"][0] | {"id": number, "segmentation": mask}
        for number, mask in enumerate(masks, start=1)
    ]
    lvis.write_text(json.dumps(content))
    read = [one["segmentation"] for one in load_lvis_json(str(lvis), "coco/")[1]["annotations"]]
    for mask in read:
        rows, columns = mask_util.decode(mask).nonzero()
        assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [
            (1, 1),
            (1, 2),
            (2, 1),
            (2, 2),
        ]


def test_the_classes_of_lvis_are_read_when_they_are_asked_for(lvis: Path) -> None:
    register_lvis_instances(NAME, {}, str(lvis), "coco/")
    metadata = MetadataCatalog.get(NAME)
    assert "thing_classes" not in metadata.as_dict()
    moved = lvis.rename(lvis.with_suffix(".away"))
    assert metadata.get("thing_classes", "unknown") == "unknown"
    with pytest.raises(AttributeError, match=r"'thing_classes' of data set .* no annotation file"):
        _ = metadata.thing_classes
    moved.rename(lvis)
    assert metadata.thing_classes == ["aerosol_can", "ant"]
    lvis.unlink()  # it is read once
    assert metadata.get("class_image_count")[1] == {"id": 2, "image_count": 3}
    assert set(metadata.as_dict()) >= {"thing_classes", "class_image_count", "json_file"}


def test_lvis_with_other_classes(lvis: Path) -> None:
    known = {"thing_classes": ["x"], "thing_dataset_id_to_contiguous_id": {2: 0}}
    register_lvis_instances(NAME, known, str(lvis), "coco/")
    assert DatasetCatalog.get(NAME)[1]["annotations"][0]["category_id"] == 0
    images = load_lvis_json(str(lvis), "coco/", extra_annotation_keys=["area"])
    assert images[1]["annotations"][0]["area"] == 4


VOC_XML = """<annotation><size><width>30</width><height>20</height></size>
<object><name>dog</name><bndbox><xmin>3</xmin><ymin>5</ymin><xmax>10</xmax><ymax>20</ymax></bndbox>
<part><name>head</name></part></object></annotation>"""


def test_pascal_voc(tmp_path: Path) -> None:
    for folder in ("Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ImageSets/Main/val.txt").write_text("000012\n\n")
    (tmp_path / "Annotations/000012.xml").write_text(VOC_XML)
    register_pascal_voc(NAME, str(tmp_path), "val", 2007)
    (image,) = DatasetCatalog.get(NAME)
    assert image["file_name"] == str(tmp_path / "JPEGImages/000012.jpg")
    assert (image["image_id"], image["height"], image["width"]) == ("000012", 20, 30)
    assert image["annotations"] == [
        {"category_id": 11, "bbox": [2.0, 4.0, 10.0, 20.0], "bbox_mode": BoxMode.XYXY_ABS}
    ]
    with pytest.raises(ValueError, match=r"000012.xml' has an object of class 'dog'; known: cat"):
        load_voc_instances(str(tmp_path), "val", ["cat"])


def rectangle(label: str, left: int, top: int, right: int, bottom: int) -> dict[str, Any]:
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {"label": label, "polygon": corners}


@pytest.fixture
def cityscapes(tmp_path: Path) -> tuple[str, str]:
    image_dir, gt_dir = tmp_path / "leftImg8bit" / "val", tmp_path / "gtFine" / "val"
    for folder in (image_dir, gt_dir):
        (folder / "ulm").mkdir(parents=True)
    (image_dir / "ulm" / "ulm_0_1_leftImg8bit.png").touch()
    objects = [
        rectangle("road", 0, 0, 39, 29),
        rectangle("car", 2, 2, 12, 12),
        rectangle("persongroup", 20, 2, 30, 12),
        rectangle("pole", 7, 0, 9, 29),
        rectangle("license plate", 3, 3, 5, 5),
        rectangle("car", 14, 20, 16, 22),
        rectangle("static", 13, 19, 17, 23),
    ]
    content = {"imgHeight": 30, "imgWidth": 40, "objects": objects}
    (gt_dir / "ulm" / "ulm_0_1_gtFine_polygons.json").write_text(json.dumps(content))
    ids = np.full((30, 40), 7, np.uint16)
    ids[2:12, 2:12], ids[2:12, 20:30] = 26001, 24
    Image.fromarray(ids).save(gt_dir / "ulm" / "ulm_0_1_gtFine_instanceIds.png")
    return str(image_dir), str(gt_dir)


def test_cityscapes_polygons(cityscapes: tuple[str, str]) -> None:
    pytest.importorskip("shapely", reason="shapely subtracts what lies over an object")
    (image,) = load_cityscapes_instances(*cityscapes)
    assert image["image_id"] == "ulm_0_1_leftImg8bit.png"
    assert (image["height"], image["width"]) == (30, 40)
    group, car = image["annotations"]
    assert (group["category_id"], group["iscrowd"]) == (0, 1)
    assert group["bbox"] == [20.5, 2.5, 30.5, 12.5]
    assert (car["category_id"], car["iscrowd"]) == (2, 0)
    areas = [mask_util.area(mask_util.frPyObjects([p], 30, 40))[0] for p in car["segmentation"]]
    assert sorted(areas) == [30, 50]  # a pole of width 2 stands before a car of 10 by 10


def test_cityscapes_instance_ids(cityscapes: tuple[str, str]) -> None:
    (image,) = load_cityscapes_instances(*cityscapes, from_json=False, to_polygons=False)
    crowd, car = image["annotations"]
    assert (crowd["category_id"], crowd["iscrowd"], crowd["bbox"]) == (0, 1, [20, 2, 10, 10])
    assert (car["category_id"], car["iscrowd"], car["bbox"]) == (2, 0, [2, 2, 10, 10])
    assert mask_util.area(car["segmentation"]) == 100
    with pytest.raises(ValueError, match="found from_json=True, to_polygons=False"):
        load_cityscapes_instances(*cityscapes, to_polygons=False)


def test_cityscapes_label_maps(cityscapes: tuple[str, str]) -> None:
    with pytest.raises(FileNotFoundError, match="createTrainIdLabelImgs.py"):
        load_cityscapes_semantic(*cityscapes)
    labels = Path(cityscapes[1]) / "ulm" / "ulm_0_1_gtFine_labelTrainIds.png"
    labels.touch()
    (pair,) = load_cityscapes_semantic(*cityscapes)
    assert pair["sem_seg_file_name"] == str(labels)
    assert (pair["height"], pair["width"]) == (30, 40)


def test_cityscapes_panoptic(cityscapes: tuple[str, str], tmp_path: Path) -> None:
    image_dir, gt_dir = cityscapes
    panoptic_dir = tmp_path / "gtFine" / "cityscapes_panoptic_val"
    segments = [{"id": 13001, "category_id": 13}, {"id": 0, "category_id": 0}]
    annotation = {
        "image_id": "ulm_0_1",
        "file_name": "ulm_0_1_gtFine_panoptic.png",
        "segments_info": segments,
    }
    gt_json = Path(f"{panoptic_dir}.json")
    gt_json.write_text(json.dumps({"annotations": [annotation]}))
    meta = MetadataCatalog.get("cityscapes_fine_panoptic_val").as_dict()
    (image,) = load_cityscapes_panoptic(image_dir, str(panoptic_dir), str(gt_json), meta)
    assert Path(image["file_name"]).is_file() and image["image_id"] == "ulm_0_1"
    assert image["sem_seg_file_name"] == f"{gt_dir}/ulm/ulm_0_1_gtFine_labelTrainIds.png"
    assert image["pan_seg_file_name"] == str(panoptic_dir / "ulm_0_1_gtFine_panoptic.png")
    assert [s["isthing"] for s in image["segments_info"]] == [True, False]

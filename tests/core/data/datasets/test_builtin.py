"""The data sets that are known by name."""

from pathlib import Path

import pytest

from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets.builtin_meta import _get_builtin_metadata
from d2seg.core.data.detection_utils import create_keypoint_hflip_indices
from tests.conftest import RunPython


def test_coco_has_its_80_classes() -> None:
    metadata = MetadataCatalog.get("coco_2017_val")
    assert len(metadata.thing_classes) == len(metadata.thing_colors) == 80
    assert metadata.thing_classes[0] == "person" and metadata.thing_classes[79] == "toothbrush"
    contiguous = metadata.thing_dataset_id_to_contiguous_id
    assert (contiguous[1], contiguous[13], contiguous[90]) == (0, 11, 79)
    assert list(contiguous.values()) == list(range(80))
    assert metadata.evaluator_type == "coco"
    assert metadata.json_file.endswith("coco/annotations/instances_val2017.json")


def test_panoptic_classes_apart() -> None:
    metadata = MetadataCatalog.get("coco_2017_val_panoptic_separated")
    assert len(metadata.thing_classes) == 80 and len(metadata.stuff_classes) == 54
    assert metadata.stuff_classes[:2] == ["things", "banner"]
    assert metadata.stuff_classes[-1] == "rug" and "sky" in metadata.stuff_classes
    stuff = metadata.stuff_dataset_id_to_contiguous_id
    assert (stuff[0], stuff[92], stuff[200]) == (0, 1, 53)
    assert metadata.evaluator_type == "coco_panoptic_seg" and metadata.ignore_label == 255
    assert MetadataCatalog.get("coco_2017_val_panoptic_stuffonly").evaluator_type == "sem_seg"


def test_panoptic_classes_together() -> None:
    metadata = MetadataCatalog.get("coco_2017_train_panoptic")
    assert metadata.thing_classes == metadata.stuff_classes and len(metadata.thing_classes) == 133
    things = metadata.thing_dataset_id_to_contiguous_id
    stuff = metadata.stuff_dataset_id_to_contiguous_id
    assert sorted([*things.values(), *stuff.values()]) == list(range(133))
    assert (things[90], stuff[92]) == (79, 80)
    assert metadata.thing_classes[80] == "banner" and metadata.thing_colors[0] == [220, 20, 60]
    assert metadata.label_divisor == 1000


def test_person_keypoints() -> None:
    metadata = MetadataCatalog.get("keypoints_coco_2017_train")
    assert metadata.thing_classes == ["person"] and len(metadata.keypoint_names) == 17
    assert metadata.keypoint_names[5:7] == ("left_shoulder", "right_shoulder")
    pairs = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    assert create_keypoint_hflip_indices(["keypoints_coco_2017_train"]) == pairs
    for first, second, _ in metadata.keypoint_connection_rules:
        assert {first, second} <= set(metadata.keypoint_names)


def test_other_data_sets() -> None:
    cityscapes = MetadataCatalog.get("cityscapes_fine_sem_seg_val")
    assert cityscapes.thing_classes[0] == "person" and len(cityscapes.thing_classes) == 8
    assert len(cityscapes.stuff_classes) == 19 and cityscapes.evaluator_type == "cityscapes_sem_seg"
    assert cityscapes.gt_dir.endswith("cityscapes/gtFine/val")
    voc = MetadataCatalog.get("voc_2007_test")
    assert (voc.year, voc.split, voc.evaluator_type) == (2007, "test", "pascal_voc")
    assert len(MetadataCatalog.get("lvis_v0.5_val_cocofied").thing_classes) == 80
    names = set(DatasetCatalog.list())
    assert {"lvis_v1_train", "ade20k_sem_seg_val", "cityscapes_fine_panoptic_train"} <= names
    stuff = MetadataCatalog.get("ade20k_sem_seg_train").stuff_classes
    assert len(stuff) == len(set(stuff)) == 150
    # As the data set numbers them, at places far apart.
    assert [stuff[index] for index in (0, 12, 76, 136, 149)] == [
        "wall",
        "person",
        "boat",
        "traffic light",
        "flag",
    ]
    panoptic = MetadataCatalog.get("cityscapes_fine_panoptic_val")
    assert list(panoptic.thing_dataset_id_to_contiguous_id) == list(range(11, 19))
    assert list(panoptic.stuff_dataset_id_to_contiguous_id) == list(range(11))
    with pytest.raises(KeyError, match="Nothing is built in for 'imagenet'; known: ade20k"):
        _get_builtin_metadata("imagenet")


def test_missing_files_are_named() -> None:
    with pytest.raises(FileNotFoundError, match="annotations/instances_val2017.json"):
        DatasetCatalog.get("coco_2017_val")
    with pytest.raises(FileNotFoundError, match=r"lvis_v1_val\.json"):
        DatasetCatalog.get("lvis_v1_val")
    with pytest.raises(FileNotFoundError, match="ImageSets/Main/test.txt"):
        DatasetCatalog.get("voc_2007_test")
    with pytest.raises(FileNotFoundError, match=r"no \*_leftImg8bit.png .*leftImg8bit/val"):
        DatasetCatalog.get("cityscapes_fine_instance_seg_val")
    with pytest.raises(FileNotFoundError, match="panoptic_val2017.json"):
        DatasetCatalog.get("coco_2017_val_panoptic")
    with pytest.raises(FileNotFoundError, match="createPanopticImgs.py"):
        DatasetCatalog.get("cityscapes_fine_panoptic_val")


@pytest.mark.slow
def test_the_folder_comes_from_the_environment(run_python: RunPython, tmp_path: Path) -> None:
    show = (
        "from d2seg.core.data import MetadataCatalog as m; print(m.get('coco_2017_val').json_file)"
    )
    done = run_python("-c", show, DETECTRON2_DATASETS=str(tmp_path))
    expected = tmp_path / "coco" / "annotations" / "instances_val2017.json"
    assert done.stdout.strip() == str(expected), done.stderr

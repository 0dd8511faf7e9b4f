"""Data sets that a config declares."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2seg.config import add_d2seg_config, load_config
from d2seg.datasets import fill_num_classes, register_datasets, thing_classes
from d2seg.framework import (
    CfgNode,
    DatasetCatalog,
    MetadataCatalog,
    get_cfg,
    register_coco_instances,
)
from tests.conftest import ROOT

MINI = ROOT / "tests" / "data" / "coco_mini"
INSTANCES = {"json": str(MINI / "instances.json"), "image_root": str(MINI / "images")}


@pytest.fixture
def cfg() -> Iterator[CfgNode]:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    before = set(DatasetCatalog.list())
    yield cfg
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def declare(cfg: CfgNode, **entry: str) -> None:
    cfg.DATASETS.REGISTER = CfgNode({"mini": dict(entry)}, new_allowed=True)


def test_a_declared_data_set_is_registered_once(cfg: CfgNode) -> None:
    declare(cfg, **INSTANCES)
    register_datasets(cfg)
    register_datasets(cfg)
    assert len(DatasetCatalog.get("mini")) == 8
    assert MetadataCatalog.get("mini").evaluator_type == "coco"


def test_the_number_of_classes_comes_from_the_file(cfg: CfgNode) -> None:
    declare(cfg, **INSTANCES)
    register_datasets(cfg)
    cfg.DATASETS.TRAIN = ("mini",)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = -1
    fill_num_classes(cfg)
    assert (cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.RETINANET.NUM_CLASSES) == (80, 80)
    assert thing_classes("mini")[:2] == ["person", "bicycle"]
    DatasetCatalog.get("mini")
    assert MetadataCatalog.get("mini").thing_classes == thing_classes("mini")


def test_keypoints_are_named_and_mirrored(cfg: CfgNode) -> None:
    declare(cfg, json=str(MINI / "person_keypoints.json"), image_root=str(MINI / "images"))
    cfg.MODEL.KEYPOINT_ON = True
    register_datasets(cfg)
    metadata = MetadataCatalog.get("mini")
    assert metadata.keypoint_names[0] == "nose"
    assert len(metadata.keypoint_flip_map) == 8
    assert ("left_eye", "right_eye") in metadata.keypoint_flip_map


def test_panoptic(cfg: CfgNode, tmp_path: Path) -> None:
    declare(
        cfg,
        **INSTANCES,
        type="coco_panoptic",
        panoptic_json=str(MINI / "panoptic.json"),
        panoptic_root=str(MINI / "panoptic"),
        sem_seg_root=str(tmp_path),
    )
    register_datasets(cfg)
    register_datasets(cfg)
    metadata = MetadataCatalog.get("mini_separated")
    builtin = MetadataCatalog.get("coco_2017_val_panoptic_separated")
    assert len(metadata.stuff_classes) == len(builtin.stuff_classes)  # a few names are shortened
    for key in ("thing_classes", "stuff_dataset_id_to_contiguous_id"):
        assert metadata.get(key) == builtin.get(key), key


def test_bad_entries_say_what_is_wrong(cfg: CfgNode, tmp_path: Path) -> None:
    declare(cfg, json="a.json")
    with pytest.raises(ValueError, match=r"mini of type coco needs the keys .*; found json\."):
        register_datasets(cfg)
    declare(cfg, **INSTANCES, type="yolo")
    with pytest.raises(ValueError, match=r"mini.type is 'yolo'; use one of coco, lvis"):
        register_datasets(cfg)
    declare(cfg, json="none.json", image_root=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"mini.json: there is no file 'none.json'"):
        register_datasets(cfg)
    declare(cfg, json=INSTANCES["json"], image_root="nowhere")
    with pytest.raises(FileNotFoundError, match=r"image_root: there is no folder 'nowhere'"):
        register_datasets(cfg)
    register_coco_instances("mini", {}, "other.json", str(tmp_path))
    declare(cfg, **INSTANCES)
    with pytest.raises(ValueError, match=r"'mini' is registered already, with other files"):
        register_datasets(cfg)


def test_files_without_categories(cfg: CfgNode, tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text(json.dumps({"images": []}))
    declare(cfg, json=str(path), image_root=str(tmp_path))
    register_datasets(cfg)
    cfg.DATASETS.TEST = ("mini",)
    cfg.MODEL.RETINANET.NUM_CLASSES = -1
    with pytest.raises(ValueError, match=r"empty.json' has no categories"):
        fill_num_classes(cfg)
    cfg.DATASETS.TEST = ()
    with pytest.raises(ValueError, match="NUM_CLASSES is -1, .* DATASETS.TEST are empty"):
        fill_num_classes(cfg)


def test_the_shipped_training_config_declares_its_data() -> None:
    shipped = load_config("nuclei.yaml")
    assert set(shipped.DATASETS.REGISTER) == {*shipped.DATASETS.TRAIN, *shipped.DATASETS.TEST}
    with pytest.raises(FileNotFoundError, match=r"nuclei_train.json: there is no file 'datasets/"):
        register_datasets(shipped)

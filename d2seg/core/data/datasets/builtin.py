"""The data sets that are known by name, where they are expected, and what is known about them.

They are looked for in the folder that the variable ``DETECTRON2_DATASETS`` names when this module
is imported, ``datasets`` without it. Registering reads nothing: files are opened when a data set is
loaded.
"""

import os
from typing import Any

from d2seg.core.data.catalog import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets.builtin_meta import _get_builtin_metadata
from d2seg.core.data.datasets.cityscapes import (
    load_cityscapes_instances,
    load_cityscapes_semantic,
)
from d2seg.core.data.datasets.cityscapes_panoptic import register_all_cityscapes_panoptic
from d2seg.core.data.datasets.coco import load_sem_seg, register_coco_instances
from d2seg.core.data.datasets.coco_panoptic import (
    register_coco_panoptic,
    register_coco_panoptic_separated,
)
from d2seg.core.data.datasets.lvis import register_lvis_instances
from d2seg.core.data.datasets.pascal_voc import register_pascal_voc

__all__ = [
    "register_all_ade20k",
    "register_all_cityscapes",
    "register_all_cityscapes_panoptic",
    "register_all_coco",
    "register_all_lvis",
    "register_all_pascal_voc",
]

_COCO_2014_SPLITS = ("train", "val", "minival", "valminusminival")

# Name: the folder of images, and the annotation file.
_COCO_FILES = {
    **{
        f"coco_2014_{split}": (
            "train2014" if split == "train" else "val2014",
            f"instances_{split}2014.json",
        )
        for split in _COCO_2014_SPLITS
    },
    "coco_2017_train": ("train2017", "instances_train2017.json"),
    "coco_2017_val": ("val2017", "instances_val2017.json"),
    "coco_2017_test": ("test2017", "image_info_test2017.json"),
    "coco_2017_test-dev": ("test2017", "image_info_test-dev2017.json"),
    "coco_2017_val_100": ("val2017", "instances_val2017_100.json"),
}
_COCO_PERSON_FILES = {
    **{
        f"keypoints_coco_2014_{split}": (
            "train2014" if split == "train" else "val2014",
            f"person_keypoints_{split}2014.json",
        )
        for split in _COCO_2014_SPLITS
    },
    "keypoints_coco_2017_train": ("train2017", "person_keypoints_train2017.json"),
    "keypoints_coco_2017_val": ("val2017", "person_keypoints_val2017.json"),
    "keypoints_coco_2017_val_100": ("val2017", "person_keypoints_val2017_100.json"),
}
_COCO_PANOPTIC_SPLITS = {
    "coco_2017_train": "train2017",
    "coco_2017_val": "val2017",
    "coco_2017_val_100": "val2017_100",
}
_LVIS_FILES = {
    "lvis_v1_train": "lvis_v1_train.json",
    "lvis_v1_val": "lvis_v1_val.json",
    "lvis_v1_test_dev": "lvis_v1_image_info_test_dev.json",
    "lvis_v1_test_challenge": "lvis_v1_image_info_test_challenge.json",
    "lvis_v0.5_train": "lvis_v0.5_train.json",
    "lvis_v0.5_val": "lvis_v0.5_val.json",
    "lvis_v0.5_val_rand_100": "lvis_v0.5_val_rand_100.json",
    "lvis_v0.5_test": "lvis_v0.5_image_info_test.json",
    "lvis_v0.5_train_cocofied": "lvis_v0.5_train_cocofied.json",
    "lvis_v0.5_val_cocofied": "lvis_v0.5_val_cocofied.json",
}
_VOC_SPLITS = {
    2007: ("trainval", "train", "val", "test"),
    2012: ("trainval", "train", "val"),
}
_ADE20K_SPLITS = {"train": "training", "val": "validation"}


def register_all_coco(root: str) -> None:
    """Make COCO's instances, person keypoints and panoptic data sets known.

    Args:
        root: The folder that has ``coco``.
    """
    folder = os.path.join(root, "coco")
    for family, files in (("coco", _COCO_FILES), ("coco_person", _COCO_PERSON_FILES)):
        for name, (images, annotations) in files.items():
            register_coco_instances(
                name,
                _get_builtin_metadata(family),
                os.path.join(folder, "annotations", annotations),
                os.path.join(folder, images),
            )
    for name, split in _COCO_PANOPTIC_SPLITS.items():
        _register_coco_panoptic(name, folder, split)


def register_all_lvis(root: str) -> None:
    """Make LVIS known; its classes are read from its files when they are first asked for.

    Args:
        root: The folder that has ``coco`` and ``lvis``.
    """
    for name, annotations in _LVIS_FILES.items():
        metadata = _get_builtin_metadata("coco") if name.endswith("cocofied") else {}
        register_lvis_instances(
            name,
            metadata,
            os.path.join(root, "lvis", annotations),
            os.path.join(root, "coco/"),
        )


def register_all_cityscapes(root: str) -> None:
    """Make Cityscapes' instances and label maps known.

    Args:
        root: The folder that has ``cityscapes``.
    """
    for split in ("train", "val", "test"):
        image_dir = os.path.join(root, "cityscapes", "leftImg8bit", split)
        gt_dir = os.path.join(root, "cityscapes", "gtFine", split)
        _register_cityscapes(split, image_dir, gt_dir)


def register_all_pascal_voc(root: str) -> None:
    """Make Pascal VOC 2007 and 2012 known.

    Args:
        root: The folder that has ``VOC2007`` and ``VOC2012``.
    """
    for year, splits in _VOC_SPLITS.items():
        for split in splits:
            name = f"voc_{year}_{split}"
            register_pascal_voc(name, os.path.join(root, f"VOC{year}"), split, year)
            MetadataCatalog.get(name).evaluator_type = "pascal_voc"


def register_all_ade20k(root: str) -> None:
    """Make ADE20K's scene parsing known.

    Args:
        root: The folder that has ``ADEChallengeData2016``.
    """
    folder = os.path.join(root, "ADEChallengeData2016")
    for split, subfolder in _ADE20K_SPLITS.items():
        image_dir = os.path.join(folder, "images", subfolder)
        gt_dir = os.path.join(folder, "annotations_detectron2", subfolder)
        _register_ade20k(f"ade20k_sem_seg_{split}", image_dir, gt_dir)


def _register_coco_panoptic(name: str, folder: str, split: str) -> None:
    instances = MetadataCatalog.get(name)
    panoptic_root = os.path.join(folder, f"panoptic_{split}")
    panoptic_json = os.path.join(folder, "annotations", f"panoptic_{split}.json")
    register_coco_panoptic_separated(
        f"{name}_panoptic",
        _get_builtin_metadata("coco_panoptic_separated"),
        instances.image_root,
        panoptic_root,
        panoptic_json,
        os.path.join(folder, f"panoptic_stuff_{split}"),
        instances.json_file,
    )
    register_coco_panoptic(
        f"{name}_panoptic",
        _get_builtin_metadata("coco_panoptic_standard"),
        instances.image_root,
        panoptic_root,
        panoptic_json,
        instances.json_file,
    )


def _register_cityscapes(split: str, image_dir: str, gt_dir: str) -> None:
    known: dict[str, Any] = {
        "image_dir": image_dir,
        "gt_dir": gt_dir,
        **_get_builtin_metadata("cityscapes"),
    }
    instances = f"cityscapes_fine_instance_seg_{split}"
    DatasetCatalog.register(instances, lambda: load_cityscapes_instances(image_dir, gt_dir))
    MetadataCatalog.get(instances).set(evaluator_type="cityscapes_instance", **known)
    labels = f"cityscapes_fine_sem_seg_{split}"
    DatasetCatalog.register(labels, lambda: load_cityscapes_semantic(image_dir, gt_dir))
    MetadataCatalog.get(labels).set(evaluator_type="cityscapes_sem_seg", ignore_label=255, **known)


def _register_ade20k(name: str, image_dir: str, gt_dir: str) -> None:
    DatasetCatalog.register(name, lambda: load_sem_seg(gt_dir, image_dir))
    MetadataCatalog.get(name).set(
        image_root=image_dir,
        sem_seg_root=gt_dir,
        evaluator_type="sem_seg",
        ignore_label=255,
        **_get_builtin_metadata("ade20k_sem_seg"),
    )


def _register_all(root: str) -> None:
    register_all_coco(root)
    register_all_lvis(root)
    register_all_cityscapes(root)
    register_all_cityscapes_panoptic(root)
    register_all_pascal_voc(root)
    register_all_ade20k(root)


_register_all(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))

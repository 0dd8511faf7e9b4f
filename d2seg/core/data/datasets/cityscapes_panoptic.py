"""Cityscapes' panoptic annotations, in COCO's panoptic format."""

import os
from typing import Any

from d2seg.core.data.catalog import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets.builtin_meta import CITYSCAPES_CATEGORIES
from d2seg.core.data.datasets.cityscapes_labels import CITYSCAPES_LABELS
from d2seg.core.data.datasets.coco_panoptic import load_coco_panoptic_json
from d2seg.core.runtime.files import PathManager

__all__ = ["load_cityscapes_panoptic", "register_all_cityscapes_panoptic"]

_SPLITS = ("train", "val")


def load_cityscapes_panoptic(
    image_dir: str, gt_dir: str, gt_json: str, meta: dict[str, Any]
) -> list[dict[str, Any]]:
    """Read the panoptic annotations of a split.

    Args:
        image_dir: Folder with a folder of ``*_leftImg8bit.png`` per city.
        gt_dir: Folder of the panoptic images.
        gt_json: Its annotation file. Both are made by ``createPanopticImgs.py`` of the package
            cityscapesscripts, with train ids.
        meta: ``thing_dataset_id_to_contiguous_id`` and ``stuff_dataset_id_to_contiguous_id``.

    Returns:
        One dict per image: ``file_name``, ``image_id``, ``sem_seg_file_name``,
        ``pan_seg_file_name`` and ``segments_info`` with contiguous ``category_id``.

    Raises:
        FileNotFoundError: The annotation file is missing.
        ValueError: It has no annotations, or a category that ``meta`` does not know.
    """
    if not PathManager.isfile(gt_json):
        raise FileNotFoundError(
            f"There is no panoptic annotation file '{gt_json}'; make it with createPanopticImgs.py "
            "--use-train-id of the package cityscapesscripts."
        )
    fine_dir = os.path.dirname(gt_dir.rstrip("/"))
    split = os.path.basename(image_dir.rstrip("/"))
    images = load_coco_panoptic_json(gt_json, image_dir, gt_dir, meta, image_id_type=str)
    for image in images:
        city = image["image_id"].split("_")[0]
        name = os.path.join(city, image["image_id"])
        image["file_name"] = os.path.join(image_dir, f"{name}_leftImg8bit.png")
        image["sem_seg_file_name"] = os.path.join(
            fine_dir, split, f"{name}_gtFine_labelTrainIds.png"
        )
    return images


def register_all_cityscapes_panoptic(root: str) -> None:
    """Make ``cityscapes_fine_panoptic_train`` and ``_val`` known; nothing is read yet.

    Args:
        root: The folder that has ``cityscapes``.
    """
    for split in _SPLITS:
        _register(f"cityscapes_fine_panoptic_{split}", os.path.join(root, "cityscapes"), split)


def _register(name: str, folder: str, split: str) -> None:
    image_dir = os.path.join(folder, "leftImg8bit", split)
    gt_dir = os.path.join(folder, "gtFine", f"cityscapes_panoptic_{split}")
    gt_json = f"{gt_dir}.json"
    meta = _metadata()
    DatasetCatalog.register(
        name, lambda: load_cityscapes_panoptic(image_dir, gt_dir, gt_json, meta)
    )
    MetadataCatalog.get(name).set(
        panoptic_root=gt_dir,
        image_root=image_dir,
        panoptic_json=gt_json,
        gt_dir=os.path.join(folder, "gtFine", split),
        evaluator_type="cityscapes_panoptic_seg",
        ignore_label=255,
        label_divisor=1000,
        **meta,
    )


def _metadata() -> dict[str, Any]:
    names = [category["name"] for category in CITYSCAPES_CATEGORIES]
    colours = [category["color"] for category in CITYSCAPES_CATEGORIES]
    return {
        "thing_classes": names,
        "thing_colors": colours,
        "stuff_classes": list(names),
        "stuff_colors": list(colours),
        "thing_dataset_id_to_contiguous_id": _train_ids(has_instances=True),
        "stuff_dataset_id_to_contiguous_id": _train_ids(has_instances=False),
    }


def _train_ids(has_instances: bool) -> dict[int, int]:
    chosen = (label.train_id for label in CITYSCAPES_LABELS if label.has_instances == has_instances)
    return {train_id: train_id for train_id in chosen}

"""Data sets in COCO's panoptic format, whole or as instances plus stuff."""

import os
from collections.abc import Callable
from typing import Any

from d2seg.core.data.catalog import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets.coco import load_coco_json
from d2seg.core.data.datasets.sem_seg import load_sem_seg
from d2seg.core.runtime.files import PathManager, read_json

__all__ = [
    "load_coco_panoptic_json",
    "merge_to_panoptic",
    "register_coco_panoptic",
    "register_coco_panoptic_separated",
]

_IGNORE_LABEL = 255
_LABEL_DIVISOR = 1000
"""A panoptic id is the category times this, plus the number of the instance."""


def load_coco_panoptic_json(
    json_file: str,
    image_dir: str,
    gt_dir: str,
    meta: dict[str, Any],
    image_id_type: Callable[[Any], Any] = int,
) -> list[dict[str, Any]]:
    """Read a panoptic annotation file.

    Args:
        json_file: The annotations: a path or an address.
        image_dir: Folder of the images, whose names end in ``.jpg``.
        gt_dir: Folder of the panoptic images the file names.
        meta: ``thing_dataset_id_to_contiguous_id`` and ``stuff_dataset_id_to_contiguous_id``.
        image_id_type: What image ids are turned into.

    Returns:
        One dict per image: ``file_name``, ``image_id``, ``pan_seg_file_name`` and
        ``segments_info``, whose ``category_id`` are contiguous and which say ``isthing``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has no annotations, or a category that ``meta`` does not know.
    """
    if not PathManager.isfile(json_file):
        raise FileNotFoundError(f"There is no panoptic annotation file '{json_file}'.")
    content = read_json(json_file)
    if not content.get("annotations"):
        raise ValueError(f"'{json_file}' has no annotations.")
    return [
        {
            "file_name": os.path.join(image_dir, f"{_stem(image['file_name'])}.jpg"),
            "image_id": image_id_type(image["image_id"]),
            "pan_seg_file_name": os.path.join(gt_dir, image["file_name"]),
            "segments_info": [
                _contiguous_segment(segment, meta, json_file) for segment in image["segments_info"]
            ],
        }
        for image in content["annotations"]
    ]


def register_coco_panoptic(
    name: str,
    metadata: dict[str, Any],
    image_root: str,
    panoptic_root: str,
    panoptic_json: str,
    instances_json: str | None = None,
) -> None:
    """Make a data set in the panoptic format known under a name; nothing is read yet.

    Args:
        name: Such as ``coco_2017_val_panoptic``.
        metadata: See :func:`load_coco_panoptic_json`; further things may be in it.
        image_root: Folder of the images.
        panoptic_root: Folder of the panoptic images.
        panoptic_json: The annotations.
        instances_json: Annotations of the instances alone, for evaluation.
    """
    DatasetCatalog.register(
        name,
        lambda: load_coco_panoptic_json(panoptic_json, image_root, panoptic_root, metadata),
    )
    MetadataCatalog.get(name).set(
        panoptic_root=panoptic_root,
        image_root=image_root,
        panoptic_json=panoptic_json,
        json_file=instances_json,
        evaluator_type="coco_panoptic_seg",
        ignore_label=_IGNORE_LABEL,
        label_divisor=_LABEL_DIVISOR,
        **metadata,
    )


def register_coco_panoptic_separated(
    name: str,
    metadata: dict[str, Any],
    image_root: str,
    panoptic_root: str,
    panoptic_json: str,
    sem_seg_root: str,
    instances_json: str,
) -> None:
    """Make a panoptic data set known as what Panoptic FPN trains on; nothing is read yet.

    ``<name>_separated`` has the instances of an instance annotation file and label maps in which
    all things have the label 0; ``<name>_stuffonly`` has the label maps only.

    Args:
        name: Such as ``coco_2017_val_panoptic``.
        metadata: ``thing_*`` and ``stuff_*`` numbered apart.
        image_root: Folder of the images.
        panoptic_root: Folder of the panoptic images, for evaluation.
        panoptic_json: The panoptic annotations, for evaluation.
        sem_seg_root: Folder of the label maps.
        instances_json: Annotations of the instances.
    """
    separated, stuff_only = f"{name}_separated", f"{name}_stuffonly"
    DatasetCatalog.register(
        separated,
        lambda: merge_to_panoptic(
            load_coco_json(instances_json, image_root, separated),
            load_sem_seg(sem_seg_root, image_root),
        ),
    )
    MetadataCatalog.get(separated).set(
        panoptic_root=panoptic_root,
        image_root=image_root,
        panoptic_json=panoptic_json,
        sem_seg_root=sem_seg_root,
        json_file=instances_json,
        evaluator_type="coco_panoptic_seg",
        ignore_label=_IGNORE_LABEL,
        **metadata,
    )
    DatasetCatalog.register(stuff_only, lambda: load_sem_seg(sem_seg_root, image_root))
    MetadataCatalog.get(stuff_only).set(
        sem_seg_root=sem_seg_root,
        image_root=image_root,
        evaluator_type="sem_seg",
        ignore_label=_IGNORE_LABEL,
        **metadata,
    )


def merge_to_panoptic(
    detection_dicts: list[dict[str, Any]], sem_seg_dicts: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Join what two data sets know about the same images.

    Args:
        detection_dicts: Images with ``annotations``. Not modified.
        sem_seg_dicts: Images with ``sem_seg_file_name``, of the same ``file_name``.

    Returns:
        The former with ``sem_seg_file_name``.

    Raises:
        ValueError: The two have no image in common, or one of the former has no label map.
    """
    label_maps = {image["file_name"]: image["sem_seg_file_name"] for image in sem_seg_dicts}
    missing = [i["file_name"] for i in detection_dicts if i["file_name"] not in label_maps]
    if missing or not detection_dicts:
        raise ValueError(
            f"{len(missing)} of {len(detection_dicts)} images have no label map, such as "
            f"{', '.join(missing[:1]) or 'none at all'}."
        )
    return [
        {**image, "sem_seg_file_name": label_maps[image["file_name"]]} for image in detection_dicts
    ]


def _contiguous_segment(
    segment: dict[str, Any], meta: dict[str, Any], json_file: str
) -> dict[str, Any]:
    category = segment["category_id"]
    for kind in ("thing", "stuff"):
        contiguous = meta[f"{kind}_dataset_id_to_contiguous_id"]
        if category in contiguous:
            number = contiguous[category]
            return {**segment, "category_id": number, "isthing": kind == "thing"}
    raise ValueError(f"'{json_file}' has the category {category}, which the metadata lacks.")


def _stem(file_name: str) -> str:
    return os.path.splitext(file_name)[0]

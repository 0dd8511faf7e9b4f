"""Cityscapes: objects from polygons or from images of instance ids, and label maps."""

import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

from d2seg.core.data.datasets.cityscapes_labels import INSTANCE_LABELS, OFF_IMAGE_LABELS
from d2seg.core.data.detection_utils import read_image
from d2seg.core.runtime.files import PathManager, read_json
from d2seg.core.structures import BoxMode

__all__ = ["load_cityscapes_instances", "load_cityscapes_semantic"]

_IMAGE_SUFFIX = "leftImg8bit.png"
_CATEGORY_BY_NAME = {label.name: index for index, label in enumerate(INSTANCE_LABELS)}
_CATEGORY_BY_ID = {label.id: index for index, label in enumerate(INSTANCE_LABELS)}
_INSTANCE_DIVISOR = 1000
"""An instance id is the label times this, plus the number of the object; a crowd has the label."""


def load_cityscapes_instances(
    image_dir: str, gt_dir: str, from_json: bool = True, to_polygons: bool = True
) -> list[dict[str, Any]]:
    """Read the objects of a split.

    Args:
        image_dir: Folder with a folder of ``*_leftImg8bit.png`` per city.
        gt_dir: Folder with a folder of annotations per city.
        from_json: Read the polygons, and take from each what lies over it (needs the package
            shapely); otherwise read the images of instance ids.
        to_polygons: Masks become polygons; otherwise compressed RLE. Only images of instance ids
            can become RLE, and only polygons polygons.

    Returns:
        One dict per image: ``file_name``, ``image_id``, ``height``, ``width`` and ``annotations``
        with contiguous category ids.

    Raises:
        FileNotFoundError: There are no images, or an annotation file is missing.
        ValueError: The two options do not go together.
    """
    if from_json != to_polygons:
        raise ValueError(
            "Cityscapes is read as polygons (from_json=True, to_polygons=True) or as RLE "
            f"(both False); found from_json={from_json}, to_polygons={to_polygons}."
        )
    read = _read_polygons if from_json else _read_instance_ids
    return [
        {"file_name": image, "image_id": os.path.basename(image), **read(annotations)}
        for image, annotations in _pair_files(image_dir, gt_dir)
    ]


def load_cityscapes_semantic(image_dir: str, gt_dir: str) -> list[dict[str, Any]]:
    """Pair the images of a split with their label maps.

    Args:
        image_dir: Folder with a folder of ``*_leftImg8bit.png`` per city.
        gt_dir: Folder with a folder of annotations per city; the label maps are those of train ids,
            which Cityscapes' own script ``createTrainIdLabelImgs.py`` makes.

    Returns:
        One dict per image: ``file_name``, ``sem_seg_file_name``, ``height`` and ``width``.

    Raises:
        FileNotFoundError: There are no images, or an annotation file is missing.
    """
    pairs = []
    for image, annotations in _pair_files(image_dir, gt_dir):
        labels = f"{annotations}labelTrainIds.png"
        if not PathManager.isfile(labels):
            raise FileNotFoundError(
                f"There is no label map '{labels}'; make them with createTrainIdLabelImgs.py of "
                "the package cityscapesscripts."
            )
        size = _read_json(f"{annotations}polygons.json")
        pairs.append(
            {
                "file_name": image,
                "sem_seg_file_name": labels,
                "height": size["imgHeight"],
                "width": size["imgWidth"],
            }
        )
    return pairs


def _pair_files(image_dir: str, gt_dir: str) -> Iterator[tuple[str, str]]:
    """Yield each image and how the paths of its annotations begin."""
    found = False
    for city in sorted(PathManager.ls(image_dir) if PathManager.isdir(image_dir) else []):
        for name in sorted(PathManager.ls(os.path.join(image_dir, city))):
            if name.endswith(_IMAGE_SUFFIX):
                found = True
                prefix = name.removesuffix(_IMAGE_SUFFIX)
                annotations = os.path.join(gt_dir, city, f"{prefix}gtFine_")
                yield os.path.join(image_dir, city, name), annotations
    if not found:
        raise FileNotFoundError(f"There are no *_{_IMAGE_SUFFIX} in the folders of '{image_dir}'.")


def _read_json(file_name: str) -> dict[str, Any]:
    content: dict[str, Any] = read_json(file_name)
    return content


def _read_polygons(annotations: str) -> dict[str, Any]:
    content = _read_json(f"{annotations}polygons.json")
    visible = _visible_shapes(content["objects"])
    return {
        "height": content["imgHeight"],
        "width": content["imgWidth"],
        "annotations": [
            {
                "category_id": category,
                "iscrowd": int(is_crowd),
                "bbox": list(shape.bounds),
                "bbox_mode": BoxMode.XYXY_ABS,
                "segmentation": _outlines(shape),
            }
            for category, is_crowd, shape in visible
        ],
    }


def _visible_shapes(objects: list[dict[str, Any]]) -> list[tuple[int, bool, Any]]:
    """Return category, crowd and visible shape of each object; later ones lie over earlier ones."""
    try:
        polygon = import_module("shapely.geometry").Polygon
    except ImportError as error:
        raise ModuleNotFoundError(
            "Reading the polygons of Cityscapes needs the package shapely: pip install shapely.",
            name="shapely",
        ) from error
    visible, covered = [], polygon()
    for item in reversed(objects):
        if item["label"] in OFF_IMAGE_LABELS:
            continue
        # Corners are pixel indices; their centres are half a pixel further. A buffer of nothing
        # mends outlines that cross themselves.
        shape = polygon(np.array(item["polygon"], dtype=np.float64) + 0.5).buffer(0)
        category = _CATEGORY_BY_NAME.get(item["label"].removesuffix("group"))
        seen = shape.difference(covered)
        covered = covered.union(shape)
        if category is not None and seen.area > 0:
            visible.append((category, item["label"].endswith("group"), seen))
    return visible


def _outlines(shape: Any) -> list[list[float]]:
    """Return the outer outline of each part; holes are lost."""
    parts = getattr(shape, "geoms", [shape])
    return [
        np.asarray(part.exterior.coords)[:-1].reshape(-1).tolist()
        for part in parts
        if part.geom_type == "Polygon"
    ]


def _read_instance_ids(annotations: str) -> dict[str, Any]:
    instance_ids = read_image(f"{annotations}instanceIds.png").astype(np.int64)
    height, width = instance_ids.shape
    found = []
    for instance_id in np.unique(instance_ids).tolist():
        is_crowd = instance_id < _INSTANCE_DIVISOR
        label = instance_id if is_crowd else instance_id // _INSTANCE_DIVISOR
        if label in _CATEGORY_BY_ID:
            rle = mask_util.encode(np.asfortranarray(instance_ids == instance_id, dtype=np.uint8))
            found.append(
                {
                    "category_id": _CATEGORY_BY_ID[label],
                    "iscrowd": int(is_crowd),
                    "bbox": mask_util.toBbox(rle).tolist(),
                    "bbox_mode": BoxMode.XYWH_ABS,
                    "segmentation": rle,
                }
            )
    return {"height": height, "width": width, "annotations": found}

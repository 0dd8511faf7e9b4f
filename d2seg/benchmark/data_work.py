"""What the loading of data is measured with: images in files, and objects annotated on them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from d2seg.datasets import register_datasets
from d2seg.framework import BoxMode, CfgNode, get_detection_dataset_dicts
from d2seg.images import load_image

POINTS = 40
"""Of the outline of a made-up object; the objects of COCO have about so many."""

Records = list[dict[str, Any]]
"""Images as data sets give them; every object has polygons or an RLE, and none is a crowd."""


def write_photographs(paths: Sequence[Path], size_hw: tuple[int, int], folder: Path) -> list[Path]:
    """Write images as JPEG files of one size, as photographs are.

    Args:
        paths: Image files.
        size_hw: Height and width to stretch them to.
        folder: Where to; is there.

    Raises:
        ValueError: A file is no image, or the size is not positive.
    """
    if min(size_hw) < 1:
        raise ValueError(f"The size of images must be positive, got {size_hw[0]}x{size_hw[1]}.")
    written = []
    for number, path in enumerate(paths):
        image = Image.fromarray(load_image(path, "RGB"))
        written.append(folder / f"{number}.jpg")
        stretched = image.resize((size_hw[1], size_hw[0]), Image.Resampling.BILINEAR)
        stretched.save(written[-1], quality=90)
    return written


def make_up_objects(paths: Sequence[Path], objects: int) -> Records:
    """Describe images, each with objects whose wavy outlines have `POINTS` points.

    Args:
        paths: Image files.
        objects: How many each image gets, of random places and sizes; the same in every run.

    Raises:
        ValueError: There is no image or no object, or a file is no image.
    """
    if not paths:
        raise ValueError("There is no image to measure with; give at least one.")
    if objects < 1:
        raise ValueError(f"The number of objects must be at least 1, got {objects}.")
    chance = np.random.default_rng(0)
    records = []
    for number, path in enumerate(paths):
        height, width = load_image(path).shape[:2]
        outlines = [_outline(chance) * (width, height) for _ in range(objects)]
        records.append(
            {
                "file_name": str(path),
                "image_id": number,
                "height": height,
                "width": width,
                "annotations": [_annotation(points_xy) for points_xy in outlines],
            }
        )
    return records


def read_training_set(cfg: CfgNode, images: int) -> Records:
    """Take the first images with objects of the data sets of ``DATASETS.TRAIN``.

    Args:
        cfg: The data sets that it declares are registered.
        images: So many at most.

    Raises:
        ValueError: There is no data set, or none of its images has an object with a mask.
    """
    if images < 1:
        raise ValueError(f"The number of images must be at least 1, got {images}.")
    if not cfg.DATASETS.TRAIN:
        raise ValueError("DATASETS.TRAIN is empty; name a training set, or images by --input.")
    register_datasets(cfg)
    records: Records = []
    for record in get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=False):
        if objects := [one for one in record.get("annotations", ()) if _has_mask(one)]:
            records.append({**record, "annotations": objects})
        if len(records) == images:
            break
    if not records:
        names = ", ".join(cfg.DATASETS.TRAIN)
        raise ValueError(f"No image of {names} has an annotated object with a mask.")
    return records


def _has_mask(annotation: dict[str, Any]) -> bool:
    return bool(annotation.get("segmentation")) and not annotation.get("iscrowd", 0)


def _outline(chance: np.random.Generator) -> np.ndarray:
    """Return the points (P, 2) XY of an object in an image of width and height 1."""
    radii = chance.uniform(0.02, 0.2, 2)
    centre = radii + chance.uniform(size=2) * (1 - 2 * radii)
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    waves = chance.uniform(0.7, 1.0, (POINTS, 1))
    return centre + radii * waves * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _annotation(points_xy: np.ndarray) -> dict[str, Any]:
    return {
        "bbox": [*points_xy.min(axis=0).tolist(), *points_xy.max(axis=0).tolist()],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": 0,
        "segmentation": [points_xy.reshape(-1).tolist()],
    }

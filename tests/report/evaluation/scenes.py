"""Small data sets whose figures can be worked out by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from d2seg.report.evaluation.inputs import build_index

HEIGHT, WIDTH = 40, 60
Box = tuple[int, int, int, int]


def rectangle(box_xywh: Box) -> dict[str, Any]:
    """A filled rectangle as compressed RLE."""
    x, y, width, height = box_xywh
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    encoded = coco_mask.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")}


def dataset(
    objects: Sequence[tuple[int, int, Box]], names: Sequence[str] = ("cat", "dog"), images: int = 1
) -> dict[str, Any]:
    """A COCO data set; an object is image id, category id and XYWH box, and its mask is its box."""
    return {
        "images": [
            {"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH}
            for number in range(1, images + 1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
        "annotations": [
            {
                "id": number,
                "image_id": image_id,
                "category_id": category_id,
                "bbox": list(box),
                "area": box[2] * box[3],
                "segmentation": rectangle(box),
                "iscrowd": 0,
            }
            for number, (image_id, category_id, box) in enumerate(objects, start=1)
        ],
    }


def ground_truth(*args: Any, **kwargs: Any) -> COCO:
    """The same, indexed by pycocotools."""
    return build_index(dataset(*args, **kwargs))


def detection(image_id: int, category_id: int, score: float, box: Box) -> dict[str, Any]:
    """A COCO result with box and mask."""
    return {
        "image_id": image_id,
        "category_id": category_id,
        "score": score,
        "bbox": list(box),
        "segmentation": rectangle(box),
    }


LEFT: Box = (0, 0, 10, 10)
MIDDLE: Box = (20, 0, 10, 10)
RIGHT: Box = (40, 0, 10, 10)
BELOW: Box = (0, 20, 10, 10)

PETS = dataset([(1, 1, LEFT), (1, 2, MIDDLE), (1, 1, RIGHT)])
"""A cat, a dog, a cat."""
PET_DETECTIONS = [
    detection(1, 1, 0.9, LEFT),
    detection(1, 1, 0.8, MIDDLE),
    detection(1, 2, 0.7, BELOW),
    detection(1, 1, 0.3, RIGHT),
]
"""The first cat; the dog, taken for a cat; a dog where nothing is; the second cat, low in score."""


def write_images(folder: Path, number: int) -> None:
    """Write dark images named as in the data sets."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint32).reshape(HEIGHT, WIDTH, 3) % 80
    for image_id in range(1, number + 1):
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{image_id}.png")

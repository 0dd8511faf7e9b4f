"""Detections in COCO's JSON format."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from d2seg.framework import Instances


def coco_results(image_id: int, instances: Instances) -> list[dict[str, Any]]:
    """Return the detections of one image as COCO results, which ``COCO.loadRes`` reads.

    Args:
        image_id: The image's id in the data set.
        instances: ``pred_boxes``, ``scores``, ``pred_classes`` and, if the model has masks,
            ``pred_masks`` (N, H, W) bool.

    Returns:
        Per detection ``image_id``, ``category_id`` (class index + 1), ``bbox`` (left, top, width,
        height; pixels), ``score`` and, with masks, ``segmentation`` (compressed RLE).
    """
    boxes = instances.pred_boxes.tensor.cpu().clone()
    boxes[:, 2:] -= boxes[:, :2]
    results = [
        {
            "image_id": image_id,
            "category_id": category + 1,
            "bbox": [round(value, 2) for value in box],
            "score": round(score, 5),
        }
        for box, score, category in zip(
            boxes.tolist(),
            instances.scores.tolist(),
            instances.pred_classes.tolist(),
            strict=True,
        )
    ]
    if instances.has("pred_masks"):
        for result, mask in zip(results, instances.pred_masks.cpu().numpy(), strict=True):
            result["segmentation"] = _encode_mask(mask)
    return results


def coco_dataset(
    names: Sequence[str], sizes_hw: Sequence[tuple[int, int]], class_names: Sequence[str]
) -> dict[str, Any]:
    """Return the COCO data set that results refer to: images and categories, no annotations.

    Args:
        names: File names of the images; ids count from 1.
        sizes_hw: Height and width of each image.
        class_names: In the order of the class indices; category ids count from 1.
    """
    return {
        "images": [
            {"id": number, "file_name": name, "height": size_hw[0], "width": size_hw[1]}
            for number, (name, size_hw) in enumerate(zip(names, sizes_hw, strict=True), start=1)
        ],
        "categories": [
            {"id": number, "name": name} for number, name in enumerate(class_names, start=1)
        ],
        "annotations": [],
    }


def _encode_mask(mask: np.ndarray) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")}

"""COCO's result format: one dict per detected object."""

import json
import logging
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import torch

from d2seg.core.runtime.files import replace_when_complete
from d2seg.core.structures import BoxMode, Instances

__all__ = ["box_results", "encode_mask", "instances_to_coco_json", "results_of_task", "write_json"]

logger = logging.getLogger(__name__)

RESULT_KEYS = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
"""Where a result keeps what a task is about."""


def instances_to_coco_json(instances: Instances, img_id: Any) -> list[dict[str, Any]]:
    """Turn detections into COCO's result format.

    Args:
        instances: With ``pred_boxes``, ``scores``, ``pred_classes`` and, optionally, ``pred_masks``
            (N, H, W) bool, tensor or array, and ``pred_keypoints`` (N, K, 3) of x, y and score.
        img_id: The image's id in the annotation file.

    Returns:
        One dict per object: ``image_id``, ``category_id`` (contiguous), ``bbox`` XYWH, ``score``
        and, for masks, ``segmentation`` as compressed RLE, for keypoints a flat list: COCO's
        keypoints are pixel indices, so half a pixel is taken off.
    """
    if len(instances) == 0:
        return []
    boxes = instances.pred_boxes.tensor.cpu().numpy()
    xywh = BoxMode.convert(boxes, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).tolist()
    results = box_results(instances, xywh, img_id)
    if instances.has("pred_masks"):
        for result, mask in zip(results, instances.pred_masks, strict=True):
            result["segmentation"] = encode_mask(torch.as_tensor(mask).cpu().numpy())
    if instances.has("pred_keypoints"):
        keypoints = instances.pred_keypoints.cpu() - instances.pred_keypoints.new_tensor(
            [0.5, 0.5, 0.0], device="cpu"
        )
        for result, points in zip(results, keypoints.flatten(1).tolist(), strict=True):
            result["keypoints"] = points
    return results


def box_results(
    instances: Instances, bboxes: list[list[float]], img_id: Any
) -> list[dict[str, Any]]:
    """Return one result per object, with its box only.

    Args:
        instances: N objects with ``scores`` and ``pred_classes``.
        bboxes: N boxes as the file is to have them.
        img_id: The image's id in the annotation file.
    """
    return [
        {"image_id": img_id, "category_id": class_id, "bbox": box, "score": score}
        for class_id, box, score in zip(
            instances.pred_classes.tolist(), bboxes, instances.scores.tolist(), strict=True
        )
    ]


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Compress a mask (H, W) bool to an RLE that JSON can hold."""
    encoded = mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")}


def results_of_task(task: str, results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep what a task is about: with a box left in, the area of a mask would be the box's.

    With keypoints the box is kept: their area is the box's, as in detectron2.

    Args:
        task: ``bbox``, ``segm`` or ``keypoints``.
        results: Those that lack what the task is about are left out. Not modified.
    """
    kept = {"image_id", "category_id", "score", RESULT_KEYS[task]}
    if task == "keypoints":
        kept.add("bbox")
    return [
        {key: value for key, value in result.items() if key in kept}
        for result in results
        if RESULT_KEYS[task] in result
    ]


def write_json(content: Any, output_dir: str | os.PathLike[str] | None, name: str) -> None:
    """Write a JSON file so that it is there as a whole or not at all.

    Args:
        content: What to write.
        output_dir: The folder, which is made; None to write nothing.
        name: The file's name in it.
    """
    if output_dir is None:
        return
    target = os.path.join(output_dir, name)
    with replace_when_complete(target) as path, path.open("w", encoding="utf-8") as file:
        json.dump(content, file)
    logger.info("Wrote %s", target)

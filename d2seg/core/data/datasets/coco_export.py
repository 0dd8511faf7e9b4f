"""Writing any registered data set in COCO's JSON format."""

import datetime
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

from d2seg.core.data.catalog import DatasetCatalog, Metadata, MetadataCatalog
from d2seg.core.runtime.files import PathManager, replace_when_complete
from d2seg.core.structures import BoxMode, polygon_area

logger = logging.getLogger(__name__)

_DECIMALS = 3
"""Of a pixel: more would only make the file larger."""


def convert_to_coco_json(dataset_name: str, output_file: str, allow_cached: bool = True) -> None:
    """Write a registered data set as a COCO annotation file.

    Args:
        dataset_name: Its metadata has ``thing_classes``.
        output_file: The file to write; folders are made.
        allow_cached: Leave a file that exists as it is.
    """
    if allow_cached and PathManager.exists(output_file):
        logger.warning(
            "'%s' exists and is used; remove it if the data set '%s' has changed.",
            output_file,
            dataset_name,
        )
        return
    content = convert_to_coco_dict(dataset_name)
    logger.info("Writing the data set '%s' to %s", dataset_name, output_file)
    with replace_when_complete(Path(output_file)) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def convert_to_coco_dict(dataset_name: str) -> dict[str, Any]:
    """Turn a registered data set into the content of a COCO annotation file.

    Boxes become x, y, width, height, and stay rotated if they are; keypoints move back by half a
    pixel, to COCO's pixel indices; categories get the ids of the original file where metadata knows
    them (``thing_dataset_id_to_contiguous_id``), and are numbered from 0 otherwise. Images without
    ``image_id`` are numbered from 0, annotations from 1.

    Args:
        dataset_name: Its metadata has ``thing_classes``.

    Returns:
        ``info``, ``licenses``, ``categories``, ``images`` and ``annotations``.
    """
    images = DatasetCatalog.get(dataset_name)
    metadata = MetadataCatalog.get(dataset_name)
    original_id = _original_ids(metadata)
    content: dict[str, Any] = {
        "info": {
            "date_created": str(datetime.datetime.now()),
            "description": f"The data set {dataset_name}, written by d2seg.",
        },
        "licenses": [],
        "categories": [
            {"id": original_id[index], "name": name}
            for index, name in enumerate(metadata.thing_classes)
        ],
        "images": [],
        "annotations": [],
    }
    for index, image in enumerate(images):
        image_id = image.get("image_id", index)
        content["images"].append(
            {
                "id": image_id,
                "width": int(image["width"]),
                "height": int(image["height"]),
                "file_name": str(image["file_name"]),
            }
        )
        for annotation in image.get("annotations", []):
            record = _annotation_record(annotation)
            record["id"] = len(content["annotations"]) + 1
            record["image_id"] = image_id
            record["category_id"] = original_id[int(annotation["category_id"])]
            content["annotations"].append(record)
    return content


def _original_ids(metadata: Metadata) -> dict[int, int]:
    contiguous = metadata.get("thing_dataset_id_to_contiguous_id")
    if contiguous is None:
        return {index: index for index in range(len(metadata.thing_classes))}
    return {number: category for category, number in contiguous.items()}


def _annotation_record(annotation: dict[str, Any]) -> dict[str, Any]:
    mode = BoxMode.XYWHA_ABS if len(annotation["bbox"]) == 5 else BoxMode.XYWH_ABS
    bbox = BoxMode.convert(
        [float(value) for value in annotation["bbox"]], annotation["bbox_mode"], mode
    )
    segmentation = annotation.get("segmentation")
    record = {
        "bbox": [round(value, _DECIMALS) for value in bbox],
        "area": _area(segmentation, bbox),
        "iscrowd": int(annotation.get("iscrowd", 0)),
    }
    if segmentation is not None:
        record["segmentation"] = _json_segmentation(segmentation)
    if "keypoints" in annotation:
        points = np.array(annotation["keypoints"], dtype=np.float64).reshape(-1, 3)
        points[:, :2] -= 0.5
        record["keypoints"] = points.reshape(-1).tolist()
        record["num_keypoints"] = int((points[:, 2] > 0).sum())
    return record


def _area(segmentation: Any, bbox: list[float]) -> float:
    if segmentation is None:
        return bbox[2] * bbox[3]
    if isinstance(segmentation, dict):
        return float(mask_util.area(_compressed(segmentation)))
    polygons = [np.asarray(polygon, dtype=np.float64) for polygon in segmentation]
    return sum(polygon_area(polygon[0::2], polygon[1::2]) for polygon in polygons)


def _json_segmentation(segmentation: Any) -> Any:
    """Return polygons as lists, or an RLE whose counts are text."""
    if not isinstance(segmentation, dict):
        return [np.asarray(polygon).reshape(-1).tolist() for polygon in segmentation]
    compressed = _compressed(segmentation)
    counts = compressed["counts"]
    size = [int(length) for length in compressed["size"]]
    return {"size": size, "counts": counts.decode() if isinstance(counts, bytes) else counts}


def _compressed(rle: dict[str, Any]) -> dict[str, Any]:
    return mask_util.frPyObjects(rle, *rle["size"]) if isinstance(rle["counts"], list) else rle

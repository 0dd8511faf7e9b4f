"""Read annotations and detections for the evaluation page, and refuse what cannot be measured."""

import contextlib
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from d2seg.core.runtime.files import PathManager
from d2seg.core.runtime.untrusted.run_lengths import compress_rle

RESULT_KEYS = {"bbox": "bbox", "segm": "segmentation"}
"""Where COCO keeps what is compared, for each ``iou_type``."""

JsonSource = str | os.PathLike[str]


def read_ground_truth(source: JsonSource | COCO, iou_type: str) -> COCO:
    """Read an annotation file; what is returned may be changed without changing ``source``.

    Args:
        source: A COCO annotation file, or one that pycocotools has read.
        iou_type: ``bbox`` or ``segm``.

    Returns:
        The data set; an annotation without ``iscrowd`` is no crowd.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no COCO data set, or an annotation lacks what COCO's AP needs.
    """
    dataset = source.dataset if isinstance(source, COCO) else _read_json(source)
    name = "the ground truth" if isinstance(source, COCO) else f"'{source}'"
    parts = ("images", "categories", "annotations")
    if not isinstance(dataset, Mapping) or any(part not in dataset for part in parts):
        raise ValueError(f"COCO annotations need {', '.join(parts)}; {name} has not all of them.")
    annotations = [{"iscrowd": 0, **annotation} for annotation in dataset["annotations"]]
    # The box says also where to write on a picture.
    needed = {"id", "image_id", "category_id", "area", "bbox", RESULT_KEYS[iou_type]}
    _require_all(dataset["images"], {"id", "file_name", "height", "width"}, "Image", name)
    _require_all(dataset["categories"], {"id", "name"}, "Category", name)
    _require_all(annotations, needed, "Annotation", name)
    if iou_type == "segm":
        for annotation in annotations:
            _check_polygons(annotation)
    return build_index({**dataset, "annotations": annotations})


def read_detections(source: JsonSource | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Read COCO results, such as ``coco_instances_results.json`` of a COCOEvaluator.

    Args:
        source: The file, or its content.

    Returns:
        A list of its own with a dict per detection.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no list of detections.
    """
    detections: Any = source
    name = type(source).__name__
    if isinstance(source, str | os.PathLike):
        detections, name = _read_json(source), f"'{source}'"
    listed = isinstance(detections, Sequence) and not isinstance(detections, str)
    if not listed or not all(isinstance(item, Mapping) for item in detections):
        raise ValueError(
            f"Detections must be a list of dicts (COCO results); {name} is not. A training leaves "
            "them in inference/NAME/coco_instances_results.json; results.json has its metrics."
        )
    return [dict(detection) for detection in detections]


def guess_iou_type(detections: Sequence[Mapping[str, Any]]) -> str:
    """Return ``segm`` where there are masks, else ``bbox``."""
    return "segm" if any("segmentation" in detection for detection in detections) else "bbox"


def index_detections(
    detections: Sequence[Mapping[str, Any]], ground_truth: COCO, iou_type: str
) -> COCO:
    """Check detections against the data set and index them as pycocotools does.

    Args:
        detections: COCO results; none of them is modified. With masks, ``bbox`` is left out of
            account: COCO takes the area of the mask then.
        ground_truth: The data set they belong to.
        iou_type: ``bbox`` or ``segm``.

    Raises:
        ValueError: A detection lacks something, or is of an image, a category or a size that the
            data set does not have.
    """
    key = RESULT_KEYS[iou_type]
    kept = [_check(item, number, ground_truth, key) for number, item in enumerate(detections)]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress there
        if kept:
            return ground_truth.loadRes(kept)
    return build_index({**ground_truth.dataset, "annotations": []})


def build_index(dataset: dict[str, Any]) -> COCO:
    """Wrap a data set's dict."""
    coco = COCO()
    coco.dataset = dataset
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _read_json(source: JsonSource) -> Any:
    path = Path(PathManager.get_local_path(os.fspath(source)))
    if not path.is_file():
        raise FileNotFoundError(f"No file at '{source}'.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also what is no UTF-8
        raise ValueError(f"'{source}' is not JSON: {error}.") from error


def _require_all(
    items: Iterable[Mapping[str, Any]], keys: Iterable[str], kind: str, source: str
) -> None:
    for number, item in enumerate(items):
        _require_keys(item, keys, f"{kind} {number} of {source}")


def _require_keys(item: Mapping[str, Any], keys: Iterable[str], name: str) -> None:
    missing = sorted(key for key in keys if key not in item)
    if missing:
        raise ValueError(f"{name} has no '{missing[0]}'; it has {', '.join(sorted(item))}.")


def _check_polygons(annotation: Mapping[str, Any]) -> None:
    """Refuse polygons and masks on which pycocotools fails."""
    polygons = annotation["segmentation"]
    if isinstance(polygons, Mapping):
        compress_rle(polygons)  # raises where pycocotools would crash
    elif not polygons or any(len(polygon) < 6 for polygon in polygons):
        raise ValueError(
            f"The annotation with id {annotation['id']} has no polygon, or one with fewer than "
            "three points, so there is no mask to measure; correct or remove it."
        )


def _check(item: Mapping[str, Any], number: int, ground_truth: COCO, key: str) -> dict[str, Any]:
    name = f"Detection {number}"
    keys = ("image_id", "category_id", "score", key)
    _require_keys(item, keys, name)
    if item["image_id"] not in ground_truth.imgs:
        raise ValueError(f"{name} is of image id {item['image_id']}, which is not annotated.")
    if item["category_id"] not in ground_truth.cats:
        known = ", ".join(str(number) for number in sorted(ground_truth.cats)[:12])
        raise ValueError(
            f"{name} has category_id {item['category_id']}; the annotations have {known}. Results "
            "carry the category ids of the annotation file, not the model's class indices."
        )
    if not isinstance(item["score"], Real) or not math.isfinite(item["score"]):
        raise ValueError(f"{name} has the score {item['score']!r}; a finite number is needed.")
    if key == "bbox" and len(item[key]) != 4:
        raise ValueError(f"{name} has the bbox {item[key]}; x, y, width and height are needed.")
    kept = {name: item[name] for name in keys}
    if key == "segmentation":
        image = ground_truth.imgs[item["image_id"]]
        kept[key] = _as_rle(item[key], (image["height"], image["width"]), name)
    return kept


def _as_rle(segmentation: Any, size_hw: tuple[int, int], name: str) -> dict[str, Any]:
    """Return a mask as compressed RLE; it must have the size of its image."""
    if not isinstance(segmentation, Mapping) or {"size", "counts"} - set(segmentation):
        raise ValueError(
            f"The mask of {name.lower()} must be RLE: a dict with 'size' and 'counts'."
        )
    if tuple(segmentation["size"]) != size_hw:
        raise ValueError(
            f"The mask of {name.lower()} is of height and width {list(segmentation['size'])}, but "
            f"its image is of {list(size_hw)}."
        )
    return dict(compress_rle(dict(segmentation)))

"""Data sets in COCO's JSON format."""

import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from d2seg.core.data.catalog import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets.coco_export import convert_to_coco_dict, convert_to_coco_json
from d2seg.core.data.datasets.sem_seg import load_sem_seg
from d2seg.core.runtime.files import PathManager, read_json
from d2seg.core.runtime.untrusted.run_lengths import compress_rle
from d2seg.core.structures import BoxMode

__all__ = [
    "convert_to_coco_dict",
    "convert_to_coco_json",
    "load_coco_json",
    "load_sem_seg",
    "register_coco_instances",
]

logger = logging.getLogger(__name__)

_MIN_POLYGON_NUMBERS = 6
"""Three points."""


def register_coco_instances(
    name: str, metadata: dict[str, Any], json_file: str, image_root: str
) -> None:
    """Make a COCO-format data set known under a name.

    Nothing is read yet: the file is loaded when ``DatasetCatalog.get(name)`` is called.

    Args:
        name: Such as ``nuclei_val``.
        metadata: Further things to know about it; may be empty.
        json_file: The annotations: a path or an address.
        image_root: The folder that the file names in it are relative to.

    Raises:
        TypeError: An argument has another type.
        ValueError: There is a data set of this name.
    """
    for argument, value in {"name": name, "json_file": json_file, "image_root": image_root}.items():
        if not isinstance(value, str | os.PathLike):
            raise TypeError(
                f"register_coco_instances needs a path or name as '{argument}'; "
                f"found a {type(value).__name__}."
            )
    json_file, image_root = os.fspath(json_file), os.fspath(image_root)
    DatasetCatalog.register(name, lambda: load_coco_json(json_file, image_root, name))
    MetadataCatalog.get(name).set(
        json_file=json_file, image_root=image_root, evaluator_type="coco", **metadata
    )


def load_coco_json(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Read a COCO annotation file.

    Polygons with less than three points are dropped, and so are objects that have nothing else; a
    warning counts them.

    Args:
        json_file: The annotations: a path or an address.
        image_root: The folder that the file names in it are relative to.
        dataset_name: With a name, category ids become contiguous, 0 to K - 1, in order of the ids
            in the file, and the class names (``thing_classes``) and the ids in the file
            (``thing_dataset_id_to_contiguous_id``) are put into its metadata. Without one, category
            ids stay those of the file.
        extra_annotation_keys: Further keys of an annotation that are to be kept.

    Returns:
        One dict per image, by image id: ``file_name``, ``height``, ``width``, ``image_id`` and
        ``annotations``, each with ``bbox``, ``bbox_mode``, ``category_id``, ``iscrowd`` and where
        the file has it ``segmentation`` (a list of polygons or a compressed RLE) and ``keypoints``
        (moved by half a pixel: COCO counts pixels, everything else here measures).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a COCO annotation file, or it refers to something that is not in it.
    """
    content = _read(json_file)
    categories = sorted(content["categories"], key=lambda category: category["id"])
    contiguous = {category["id"]: index for index, category in enumerate(categories)}
    if dataset_name is None:
        contiguous = {category: category for category in contiguous}
    else:
        MetadataCatalog.get(dataset_name).set(
            thing_classes=[category["name"] for category in categories],
            thing_dataset_id_to_contiguous_id=contiguous,
        )
    kept_keys = ("iscrowd", "bbox", "keypoints", "category_id", *(extra_annotation_keys or ()))
    annotations, dropped = defaultdict(list), 0
    for annotation in content["annotations"]:
        record = _annotation_record(annotation, kept_keys, contiguous, json_file)
        if record is None:
            dropped += 1
        else:
            annotations[annotation["image_id"]].append(record)
    if dropped:
        logger.warning(
            "%s: %d object(s) without a valid polygon were left out.", json_file, dropped
        )
    images = sorted(content["images"], key=lambda image: image["id"])
    _require_known_images(annotations, {image["id"] for image in images}, json_file)
    return [
        {
            "file_name": os.path.join(image_root, image["file_name"]),
            "height": image["height"],
            "width": image["width"],
            "image_id": image["id"],
            "annotations": annotations[image["id"]],
        }
        for image in images
    ]


def _read(json_file: str | os.PathLike[str]) -> dict[str, Any]:
    path = PathManager.get_local_path(os.fspath(json_file))
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no annotation file '{json_file}'.")
    content = read_json(json_file)
    if isinstance(content, dict) and "annotations" not in content:
        logger.warning("%s: there are no annotations in this file.", json_file)
        content["annotations"] = []
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(
                f"'{json_file}' is not a COCO annotation file: it has no list '{key}'."
            )
    return content


def _annotation_record(
    annotation: dict[str, Any],
    kept_keys: Sequence[str],
    contiguous: dict[int, int],
    json_file: str | os.PathLike[str],
) -> dict[str, Any] | None:
    """Turn one annotation of the file into ours; None if its outline is unusable."""
    record = {key: annotation[key] for key in kept_keys if key in annotation}
    if len(record.get("bbox", ())) != 4:
        raise ValueError(
            f"Annotation {annotation.get('id')} of '{json_file}' has the bbox "
            f"{annotation.get('bbox')}; four numbers (x, y, width, height) are expected."
        )
    if annotation["category_id"] not in contiguous:
        raise ValueError(
            f"Annotation {annotation.get('id')} of '{json_file}' has the category "
            f"{annotation['category_id']}, which the file does not define; defined: "
            f"{', '.join(map(str, contiguous))}."
        )
    record["category_id"] = contiguous[annotation["category_id"]]
    record["bbox_mode"] = BoxMode.XYWH_ABS
    if annotation.get("segmentation"):
        segmentation = usable_segmentation(annotation["segmentation"])
        if not segmentation:
            return None
        record["segmentation"] = segmentation
    if "keypoints" in record:
        record["keypoints"] = _shifted_keypoints(record["keypoints"])
    return record


def usable_segmentation(segmentation: Any) -> Any:
    """Return the valid polygons, or the RLE in compressed form."""
    if not isinstance(segmentation, dict):
        return [p for p in segmentation if len(p) >= _MIN_POLYGON_NUMBERS and len(p) % 2 == 0]
    # Text is checked when it is decoded; millions of masks need not be read twice.
    is_text = isinstance(segmentation.get("counts"), str)
    return segmentation if is_text else compress_rle(segmentation)


def _shifted_keypoints(keypoints: Sequence[float]) -> list[float]:
    """Move x and y from pixel indices to positions; every third number is the visibility."""
    return [value if index % 3 == 2 else value + 0.5 for index, value in enumerate(keypoints)]


def _require_known_images(
    annotations: dict[int, Any], known: set[int], json_file: str | os.PathLike[str]
) -> None:
    unknown = sorted(set(annotations) - known)
    if unknown:
        raise ValueError(
            f"'{json_file}' has annotations of {len(unknown)} image(s) that it does not list, "
            f"such as image id {unknown[0]}."
        )

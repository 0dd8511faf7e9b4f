"""LVIS: COCO's images with a thousand categories and more, not all annotated everywhere."""

import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from d2seg.core.data.catalog import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets.builtin_meta import _get_builtin_metadata
from d2seg.core.data.datasets.coco import usable_segmentation
from d2seg.core.runtime.files import PathManager, read_json
from d2seg.core.structures import BoxMode

__all__ = ["get_lvis_instances_meta", "load_lvis_json", "register_lvis_instances"]

_CLASS_KEYS = ("thing_classes", "class_image_count")


def register_lvis_instances(
    name: str, metadata: dict[str, Any], json_file: str, image_root: str
) -> None:
    """Make an LVIS data set known under a name; nothing is read yet.

    Args:
        name: Such as ``lvis_v1_train``.
        metadata: Further things to know about it; may be empty. Without ``thing_classes`` they
            and ``class_image_count`` are read from the annotations when they are asked for.
        json_file: The annotations: a path or an address.
        image_root: The folder that has COCO's folders of images, such as ``train2017``.
    """
    DatasetCatalog.register(name, lambda: load_lvis_json(json_file, image_root, name))
    known = MetadataCatalog.get(name).set(
        json_file=json_file, image_root=image_root, evaluator_type="lvis", **metadata
    )
    if "thing_classes" not in metadata:
        known.promise(_CLASS_KEYS, lambda: _classes(_read(json_file)["categories"]))


def load_lvis_json(
    json_file: str,
    image_root: str,
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Read an LVIS annotation file.

    Args:
        json_file: The annotations: a path or an address.
        image_root: The folder that has COCO's folders of images.
        dataset_name: With a name, the class names and in how many images each class is
            (``class_image_count``) are put into its metadata, unless they are there.
        extra_annotation_keys: Further keys of an annotation that are to be kept.

    Returns:
        One dict per image, by image id: ``file_name``, ``height``, ``width``, ``image_id``,
        ``not_exhaustive_category_ids``, ``neg_category_ids`` and ``annotations``. Category ids of
        annotations are contiguous from 0: LVIS counts from 1.

    Raises:
        FileNotFoundError: There is no such file.
    """
    content = _read(json_file)
    contiguous: dict[int, int] = {}
    if dataset_name is not None:
        metadata = MetadataCatalog.get(dataset_name)
        if "thing_classes" not in metadata.as_dict():  # get() would read the file once more
            metadata.set(**_classes(content["categories"]))
        contiguous = metadata.get("thing_dataset_id_to_contiguous_id") or {}
    annotations = defaultdict(list)
    for annotation in content.get("annotations", []):
        record = _annotation_record(annotation, contiguous, extra_annotation_keys or ())
        annotations[annotation["image_id"]].append(record)
    return [
        {
            "file_name": _image_file(image, image_root),
            "height": image["height"],
            "width": image["width"],
            "image_id": image["id"],
            "not_exhaustive_category_ids": image.get("not_exhaustive_category_ids", []),
            "neg_category_ids": image.get("neg_category_ids", []),
            "annotations": annotations[image["id"]],
        }
        for image in sorted(content["images"], key=lambda image: image["id"])
    ]


def get_lvis_instances_meta(dataset_name: str) -> dict[str, Any]:
    """Return the classes of an LVIS data set.

    Args:
        dataset_name: A registered one, such as ``lvis_v1_train``. Its annotation file is read; but
            those called ``cocofied`` have COCO's classes.

    Returns:
        ``thing_classes``, and ``class_image_count``: by class in how many images it is, which the
        federated loss wants.

    Raises:
        FileNotFoundError: Its annotation file is not there.
        AttributeError: No such data set is registered.
    """
    if "cocofied" in dataset_name:
        return _get_builtin_metadata("coco")
    return _classes(_read(MetadataCatalog.get(dataset_name).json_file)["categories"])


def _read(json_file: str) -> dict[str, Any]:
    if not PathManager.isfile(json_file):
        raise FileNotFoundError(f"There is no annotation file '{json_file}'.")
    content: dict[str, Any] = read_json(json_file)
    return content


def _classes(categories: list[dict[str, Any]]) -> dict[str, Any]:
    by_id = sorted(categories, key=lambda category: category["id"])
    return {
        "thing_classes": [category["synonyms"][0] for category in by_id],
        "class_image_count": [
            {"id": category["id"], "image_count": category["image_count"]}
            for category in by_id
            if "image_count" in category
        ],
    }


def _annotation_record(
    annotation: dict[str, Any], contiguous: dict[int, int], extra_keys: Sequence[str]
) -> dict[str, Any]:
    category = annotation["category_id"]
    return {
        "bbox": annotation["bbox"],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": contiguous[category] if contiguous else category - 1,
        "segmentation": usable_segmentation(annotation.get("segmentation", [])),
        **{key: annotation[key] for key in extra_keys if key in annotation},
    }


def _image_file(image: dict[str, Any], image_root: str) -> str:
    """Return the path; version 1 names COCO's addresses, version 0.5 files of COCO 2014."""
    if "coco_url" in image:
        return os.path.join(image_root, *image["coco_url"].split("/")[-2:])
    name = image["file_name"]
    return os.path.join(image_root, name[-16:] if name.startswith("COCO") else name)

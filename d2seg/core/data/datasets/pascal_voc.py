"""Pascal VOC: boxes in XML files."""

import os
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from d2seg.core.data.catalog import DatasetCatalog, MetadataCatalog
from d2seg.core.runtime.files import PathManager
from d2seg.core.structures import BoxMode

__all__ = ["CLASS_NAMES", "load_voc_instances", "register_pascal_voc"]

CLASS_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""The 20 classes, in alphabetical order, which is that of their ids."""


def load_voc_instances(
    dirname: str, split: str, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Read the boxes of a split.

    Args:
        dirname: Folder with ``Annotations``, ``ImageSets`` and ``JPEGImages``.
        split: Such as ``trainval``; a file in ``ImageSets/Main`` lists its images.
        class_names: By category id.

    Returns:
        One dict per image: ``file_name``, ``image_id`` (the name of the image), ``height``,
        ``width`` and ``annotations``. VOC counts pixels from 1 and the last one is inside; boxes
        here measure from 0.

    Raises:
        FileNotFoundError: There is no such split.
        ValueError: An object is of another class.
    """
    list_file = os.path.join(dirname, "ImageSets", "Main", f"{split}.txt")
    if not PathManager.isfile(list_file):
        raise FileNotFoundError(f"There is no list of images '{list_file}'.")
    with PathManager.open(list_file) as file:
        image_ids = [line.split()[0] for line in file if line.strip()]
    return [_read_image_dict(dirname, image_id, class_names) for image_id in image_ids]


def register_pascal_voc(
    name: str,
    dirname: str,
    split: str,
    year: int,
    class_names: Sequence[str] = CLASS_NAMES,
) -> None:
    """Make a split of Pascal VOC known under a name; nothing is read yet.

    Args:
        name: Such as ``voc_2007_test``.
        dirname: Folder with ``Annotations``, ``ImageSets`` and ``JPEGImages``.
        split: Such as ``test``.
        year: 2007 or 2012; precision is averaged differently.
        class_names: By category id.
    """
    DatasetCatalog.register(name, lambda: load_voc_instances(dirname, split, class_names))
    MetadataCatalog.get(name).set(
        thing_classes=list(class_names), dirname=dirname, year=year, split=split
    )


def _read_image_dict(dirname: str, image_id: str, class_names: Sequence[str]) -> dict[str, Any]:
    xml_file = os.path.join(dirname, "Annotations", f"{image_id}.xml")
    with PathManager.open(xml_file) as file:
        root = ElementTree.parse(file).getroot()
    return {
        "file_name": os.path.join(dirname, "JPEGImages", f"{image_id}.jpg"),
        "image_id": image_id,
        "height": int(_text(root, "size/height")),
        "width": int(_text(root, "size/width")),
        "annotations": [
            _annotation_record(element, class_names, xml_file) for element in root.iter("object")
        ],
    }


def _annotation_record(
    element: ElementTree.Element, class_names: Sequence[str], xml_file: str
) -> dict[str, Any]:
    name = _text(element, "name")
    if name not in class_names:
        raise ValueError(
            f"'{xml_file}' has an object of class '{name}'; known: {', '.join(class_names)}."
        )
    left, top, right, bottom = (
        float(_text(element, f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax")
    )
    return {
        "category_id": list(class_names).index(name),
        "bbox": [left - 1.0, top - 1.0, right, bottom],
        "bbox_mode": BoxMode.XYXY_ABS,
    }


def _text(element: ElementTree.Element, path: str) -> str:
    return element.findtext(path, default="").strip()

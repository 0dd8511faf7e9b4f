"""The images of a COCO file and their boxes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from d2seg.datasets import read_coco_file


class AnnotatedBoxes(NamedTuple):
    """The annotated objects of one picture, but for crowds.

    Attributes:
        boxes: (M, 4) float32, XYXY pixels of the picture, not checked against its size.
        annotation_ids: M ids, as in the COCO file.
        class_names: M names of categories.
        crowds: How many annotations were left out because they are around a crowd.
    """

    boxes: np.ndarray
    annotation_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    crowds: int


class _Row(NamedTuple):
    """A box as XYXY, the name of its class, its annotation's id, whether it is around a crowd."""

    box: list[float]
    class_name: str
    annotation_id: int
    is_crowd: bool


class CocoImage(NamedTuple):
    """An image of a COCO file: its name there, where it is, and its boxes if asked for."""

    file_name: str
    path: Path
    annotated: AnnotatedBoxes | None


def read_coco_images(
    json_file: Path, image_root: Path | None = None, with_boxes: bool = False
) -> list[CocoImage]:
    """List the images of a COCO file, in its order.

    Single images may be missing on disk. Crowd annotations (``iscrowd`` 1) are left out: their
    boxes are around many objects, not one.

    Args:
        json_file: A COCO-format JSON file.
        image_root: The folder of the images. By default the first in which one of them is, of:
            the file's folder, ``images`` in it, ``images`` beside it, and the folder beside it of
            COCO's own layout (``val2017`` for ``annotations/instances_val2017.json``).
        with_boxes: Read the boxes too.

    Raises:
        ValueError: It is not a COCO file, or an entry is unusable.
        FileNotFoundError: There is none of its images, or no such file.
    """
    sections = ("images", "categories", "annotations") if with_boxes else ("images",)
    content = read_coco_file(json_file, sections)
    names = [_file_name(entry, json_file) for entry in content["images"]]
    if not names:
        raise ValueError(f"'{json_file}' has no images; its list of them is empty.")
    root = _find_root(json_file, names, image_root)
    boxes: Iterator[AnnotatedBoxes | None] = iter([None] * len(names))
    if with_boxes:
        boxes = _boxes_of_images(content, json_file)
    return [CocoImage(*item) for item in zip(names, map(root.joinpath, names), boxes, strict=True)]


def _file_name(entry: Any, json_file: Path) -> str:
    """Return the file name of an image; LVIS gives only its address."""
    fields = entry if isinstance(entry, dict) else {}
    name, address = fields.get("file_name"), fields.get("coco_url")
    if name is None and isinstance(address, str):
        name = "/".join(address.split("/")[-2:])
    if not isinstance(name, str) or not name:
        _reject(json_file, f"the image {entry!r:.60} has no file_name")
    return name


def _find_root(json_file: Path, names: Sequence[str], image_root: Path | None) -> Path:
    folder = json_file.absolute().parent
    split = json_file.stem.rpartition("_")[2]
    usual = [folder, folder / "images", folder.parent / "images", folder.parent / split]
    candidates = [image_root] if image_root else usual
    for candidate in candidates:
        if any((candidate / name).is_file() for name in names):
            return candidate
    tried = ", ".join(f"'{candidate}'" for candidate in candidates)
    raise FileNotFoundError(
        f"None of the {len(names)} images of '{json_file}' was found; looked in {tried}. "
        "Give the folder of the images (image_root)."
    )


def _boxes_of_images(content: dict[str, Any], json_file: Path) -> Iterator[AnnotatedBoxes]:
    """Return the boxes of each entry of ``images``, in order."""
    image_ids = [_read_id(entry, json_file, "image") for entry in content["images"]]
    if len(set(image_ids)) < len(image_ids):
        _reject(json_file, "two of its images have the same id")
    class_names = {
        _read_id(entry, json_file, "category"): str(entry.get("name", entry["id"]))
        for entry in content["categories"]
    }
    groups: dict[int | str, list[_Row]] = defaultdict(list)
    for entry in content["annotations"]:
        row = _read_annotation(entry, class_names, json_file)
        groups[_read_id(entry, json_file, "annotation", "image_id")].append(row)
    return (_stack(groups.get(image_id, [])) for image_id in image_ids)


def _read_annotation(entry: Any, class_names: dict[int, str], json_file: Path) -> _Row:
    own_id = _read_id(entry, json_file, "annotation")
    category_id = _read_id(entry, json_file, "annotation", "category_id")
    if category_id not in class_names:
        _reject(json_file, f"annotation {own_id} has the unknown category_id {category_id}")
    is_crowd = bool(entry.get("iscrowd"))
    return _Row(_read_xyxy(entry, json_file), class_names[category_id], own_id, is_crowd)


def _read_id(entry: Any, json_file: Path, what: str, key: str = "id") -> Any:
    """Return an id: a whole number; that of an image may be a text."""
    value = entry.get(key) if isinstance(entry, dict) else None
    of_image = key == "image_id" or what == "image"
    if type(value) is not int and not (of_image and isinstance(value, str)):
        _reject(json_file, f"the {what} {entry!r:.60} has no usable {key}")
    return value


def _read_xyxy(annotation: dict[str, Any], json_file: Path) -> list[float]:
    bbox = annotation.get("bbox")
    numbers = bbox if isinstance(bbox, list) else []
    if len(numbers) != 4 or any(type(number) not in {int, float} for number in numbers):
        found = "missing" if bbox is None else f"{bbox!r:.60}"
        _reject(json_file, f"annotation {annotation['id']} has the bbox {found}, not four numbers")
    left, top, width, height = numbers
    return [left, top, left + width, top + height]


def _stack(rows: Sequence[_Row]) -> AnnotatedBoxes:
    single = [row for row in rows if not row.is_crowd]
    return AnnotatedBoxes(
        np.array([row.box for row in single], dtype=np.float32).reshape(-1, 4),
        tuple(row.annotation_id for row in single),
        tuple(row.class_name for row in single),
        len(rows) - len(single),
    )


def _reject(json_file: Path, complaint: str) -> NoReturn:
    raise ValueError(
        f"'{json_file}' cannot be used: {complaint}; d2seg check-data lists all such entries."
    )

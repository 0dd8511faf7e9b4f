"""Reading a COCO-format JSON file; whatever is wrong with its form becomes a finding."""

import json
import os
from collections.abc import Callable
from typing import Any, TypeVar

from d2seg.check_data.fields import (
    MALFORMED,
    Complain,
    excerpt,
    file_name,
    is_id,
    is_whole,
    numbers_of,
    read_id,
    read_iscrowd,
    read_segmentation,
    read_side,
    read_whole,
)
from d2seg.check_data.findings import Finding, Id
from d2seg.check_data.records import AnnotationRecord, CategoryRecord, Dataset, ImageRecord
from d2seg.core.runtime.files import PathManager

Record = TypeVar("Record")

SECTIONS = ("images", "categories", "annotations")


def read_content(json_file: str) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Read the file as it is.

    Args:
        json_file: A path or an address.

    Returns:
        The content, with its three sections being lists; None if it cannot be one of a COCO data
        set. And what is wrong.

    Raises:
        FileNotFoundError: There is no such file.
    """
    path = PathManager.get_local_path(os.path.expanduser(json_file))
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no annotation file '{json_file}'.")
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (ValueError, RecursionError) as error:
        return None, [_about_file(f"'{json_file}' is not a JSON file: {error}.")]
    return _require_sections(content, json_file)


def read_dataset(
    content: dict[str, Any], json_file: str, image_root: str
) -> tuple[Dataset, list[Finding]]:
    """Turn the content of a file into records; entries that cannot be used are left out.

    Args:
        content: As ``read_content`` returns it; not modified.
        json_file: Where it was read.
        image_root: The folder of the images.

    Returns:
        The data set, and what is wrong with the form of its entries.
    """
    findings: list[Finding] = []
    images = _read_section(content, "images", read_image, findings)
    categories = _read_section(content, "categories", read_category, findings)
    annotations = _read_section(content, "annotations", read_annotation, findings)
    is_lvis = any(isinstance(i, dict) and "neg_category_ids" in i for i in content["images"])
    return Dataset(json_file, image_root, images, categories, annotations, is_lvis), findings


def read_image(position: int, entry: dict[str, Any], complain: Complain) -> ImageRecord | None:
    """Read an entry of ``images``; None if its id or file name is unusable."""
    image_id, name = read_id(entry, "id", complain), file_name(entry)
    if image_id is None:
        return None
    if not isinstance(name, str) or not name:
        complain(MALFORMED, f"has the file_name {excerpt(name)}; the name of a file is expected.")
        return None
    width, height = (read_side(entry, side, complain) for side in ("width", "height"))
    return ImageRecord(position, image_id, name, width, height)


def read_category(
    position: int, entry: dict[str, Any], complain: Complain
) -> CategoryRecord | None:
    """Read an entry of ``categories``; None if its id is unusable."""
    category_id, name = read_whole(entry, "id", complain), entry.get("name")
    if category_id is None:
        return None
    if not isinstance(name, str) or not name:
        complain(MALFORMED, f"has the name {excerpt(name)}; a text is expected.")
        name = ""
    keypoints = entry.get("keypoints", [])
    if not isinstance(keypoints, list):
        complain(MALFORMED, f"has the keypoints {excerpt(keypoints)}; a list of names is expected.")
        keypoints = []
    return CategoryRecord(position, category_id, name, tuple(map(str, keypoints)))


def read_annotation(
    position: int, entry: dict[str, Any], complain: Complain
) -> AnnotationRecord | None:
    """Read an entry of ``annotations``; None if it names no image or no category."""
    image_id = read_id(entry, "image_id", complain)
    category_id = read_whole(entry, "category_id", complain)
    own_id = read_whole(entry, "id", complain)
    if image_id is None or category_id is None:
        return None
    bbox = numbers_of(entry, "bbox", complain, required=True)
    if bbox is not None and len(bbox) != 4:
        complain(MALFORMED, f"has the bbox {excerpt(bbox)}; x, y, width, height are expected.")
        bbox = None
    area = numbers_of({"area": [entry["area"]]}, "area", complain) if "area" in entry else None
    return AnnotationRecord(
        position=position,
        id=own_id,
        image_id=image_id,
        category_id=category_id,
        bbox=(bbox[0], bbox[1], bbox[2], bbox[3]) if bbox else None,
        segmentation=read_segmentation(entry.get("segmentation"), complain),
        area=area[0] if area else None,
        iscrowd=read_iscrowd(entry, complain),
        keypoints=numbers_of(entry, "keypoints", complain),
        num_keypoints=entry["num_keypoints"] if is_whole(entry.get("num_keypoints")) else None,
    )


def _require_sections(content: Any, json_file: str) -> tuple[dict[str, Any] | None, list[Finding]]:
    if not isinstance(content, dict):
        return None, [
            _about_file(
                f"'{json_file}' holds a {type(content).__name__}, not an object with the lists "
                f"{', '.join(SECTIONS)}."
            )
        ]
    findings = []
    if "annotations" not in content:
        sentence = f"'{json_file}' has no annotations: is it a list of images to predict on?"
        findings.append(Finding("note", "no annotations", sentence))
        content = {**content, "annotations": []}
    for section in SECTIONS:
        if not isinstance(content.get(section), list):
            sentence = f"'{json_file}' is not a COCO file: it has no list '{section}'."
            findings.append(_about_file(sentence))
    return (None if any(f.severity == "error" for f in findings) else content), findings


def _read_section(
    content: dict[str, Any],
    section: str,
    read: Callable[[int, dict[str, Any], Complain], Record | None],
    findings: list[Finding],
) -> list[Record]:
    """Return the usable entries of a section, and append what is wrong with the others."""
    records = []
    for position, entry in enumerate(content[section]):

        def complain(kind: str, what: str, position: int = position, entry: Any = entry) -> None:
            findings.append(_about_entry(kind, what, section, position, entry))

        if not isinstance(entry, dict):
            complain(MALFORMED, f"is {excerpt(entry)}; an object with fields is expected.")
            continue
        record = read(position, entry, complain)
        if record is not None:
            records.append(record)
    return records


def _about_file(sentence: str) -> Finding:
    return Finding("error", "not a COCO file", sentence)


def _about_entry(kind: str, what: str, section: str, position: int, entry: Any) -> Finding:
    fields = entry if isinstance(entry, dict) else {}
    sentence = f"{_describe(section, position, fields)} {what}"
    own_id: Id | None = fields["id"] if is_id(fields.get("id")) else None
    if section == "images":
        name = file_name(fields)
        return Finding("error", kind, sentence, name if isinstance(name, str) else "", own_id)
    if section == "annotations":
        image_id = fields["image_id"] if is_id(fields.get("image_id")) else None
        ids = () if own_id is None else (own_id,)
        return Finding("error", kind, sentence, "", image_id, ids)
    return Finding("error", kind, sentence)


def _describe(section: str, position: int, entry: dict[str, Any]) -> str:
    """Name an entry by its id where it has one, else by its place in the file."""
    noun = {"images": "Image", "categories": "Category", "annotations": "Annotation"}[section]
    if is_id(entry.get("id")):
        return f"{noun} {entry['id']}"
    return f"{noun} number {position + 1} of the file"

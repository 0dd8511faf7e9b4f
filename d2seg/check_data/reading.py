"""Reading a COCO-format JSON file; whatever is wrong with its form becomes a finding."""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

from d2seg.check_data.findings import Finding, Id
from d2seg.check_data.records import AnnotationRecord, CategoryRecord, Dataset, ImageRecord
from d2seg.core.runtime.files import PathManager

SECTIONS = ("images", "categories", "annotations")

MALFORMED = "malformed entry"
UNUSABLE = "unusable number"

LARGEST = 1e12
"""No coordinate and no area is larger than this."""
_ABSURD = f"NaN, infinity or a number above {LARGEST:g}"

_LONGEST_EXCERPT = 60

Complain = Callable[[str, str], None]
"""Takes the kind of a finding and what is wrong."""


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

    def collect(section: str, read: Callable[..., Any]) -> list[Any]:
        records = []
        for position, entry in enumerate(content[section]):
            who = describe_entry(section, position, entry)

            def complain(kind: str, what: str, who: str = who, entry: Any = entry) -> None:
                findings.append(_about_entry(kind, f"{who} {what}", section, entry))

            if not isinstance(entry, dict):
                complain(MALFORMED, f"is {excerpt(entry)}; an object with fields is expected.")
                continue
            record = read(position, entry, complain)
            if record is not None:
                records.append(record)
        return records

    images = collect("images", read_image)
    categories = collect("categories", read_category)
    annotations = collect("annotations", read_annotation)
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
    width, height = (_read_side(entry, side, complain) for side in ("width", "height"))
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
        iscrowd=_read_iscrowd(entry, complain),
        keypoints=numbers_of(entry, "keypoints", complain),
        num_keypoints=entry["num_keypoints"] if is_whole(entry.get("num_keypoints")) else None,
    )


def read_segmentation(value: Any, complain: Complain) -> list[list[float]] | dict[str, Any] | None:
    """Return polygons or an RLE of the right types; None if there is none or it is neither."""
    if value is None or value == []:
        return None
    if isinstance(value, dict):
        return _read_rle(value, complain)
    if isinstance(value, list) and all(map(is_real, value)):
        complain(MALFORMED, "has one list of numbers as segmentation; a list of such lists is due.")
        return None
    if not isinstance(value, list) or not all(_is_polygon(polygon) for polygon in value):
        complain(MALFORMED, f"has the segmentation {excerpt(value)}; polygons or RLE are expected.")
        return None
    if not all(map(are_usable, value)):
        complain(UNUSABLE, f"has {_ABSURD} in its segmentation.")
        return None
    return value


def read_id(entry: dict[str, Any], key: str, complain: Complain) -> Id | None:
    """Return the id of an image: a whole number, or a text."""
    value = entry.get(key)
    return value if is_id(value) else read_whole(entry, key, complain)


def read_whole(entry: dict[str, Any], key: str, complain: Complain) -> int | None:
    """Return a whole number; one with a fraction of 0 is taken, but complained of."""
    value = entry.get(key)
    if is_whole(value):
        return value
    complain(MALFORMED, f"has the {key} {excerpt(value)}; a whole number is expected.")
    return int(value) if isinstance(value, float) and value.is_integer() else None


def numbers_of(
    entry: dict[str, Any], key: str, complain: Complain, required: bool = False
) -> list[float] | None:
    """Return the list of finite numbers in a field; None if there is none."""
    value = entry.get(key)
    if value is None and not required:
        return None
    if not isinstance(value, list) or not all(map(is_real, value)):
        complain(MALFORMED, f"has the {key} {excerpt(value)}; a list of numbers is expected.")
        return None
    if not are_usable(value):
        complain(UNUSABLE, f"has {_ABSURD} in its {key}: {excerpt(value)}.")
        return None
    return value


def file_name(entry: dict[str, Any]) -> Any:
    """Return the file name of an image; LVIS gives only its address."""
    address = entry.get("coco_url")
    if "file_name" not in entry and isinstance(address, str):
        return "/".join(address.split("/")[-2:])
    return entry.get("file_name")


def is_id(value: Any) -> TypeGuard[Id]:
    """Tell whether a value can be the id of an image."""
    return is_whole(value) or (isinstance(value, str) and value != "")


def is_whole(value: Any) -> TypeGuard[int]:
    """Tell whether a value is a whole number; true and false are none."""
    return type(value) is int


def is_real(value: Any) -> TypeGuard[float]:
    """Tell whether a value is a number; true and false are none."""
    return type(value) in {int, float}


def are_usable(numbers: Iterable[float]) -> bool:
    """Tell whether no number is NaN, infinite, or larger than anything in an image."""
    return all(abs(number) <= LARGEST for number in numbers)


def excerpt(value: Any) -> str:
    """Return a value as text, cut where it gets long."""
    text = "missing" if value is None else repr(value)
    return text if len(text) <= _LONGEST_EXCERPT else f"{text[:_LONGEST_EXCERPT]}..."


def describe_entry(section: str, position: int, entry: Any) -> str:
    """Name an entry by its id where it has one, else by its place in the file."""
    noun = {"images": "Image", "categories": "Category", "annotations": "Annotation"}[section]
    if isinstance(entry, dict) and is_id(entry.get("id")):
        return f"{noun} {entry['id']}"
    return f"{noun} number {position + 1} of the file"


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


def _read_side(entry: dict[str, Any], side: str, complain: Complain) -> int | None:
    value = read_whole(entry, side, complain)
    if value is not None and not 0 < value <= LARGEST:
        complain(MALFORMED, f"has the {side} {value}; a number of pixels is expected.")
        return None
    return value


def _read_rle(value: dict[str, Any], complain: Complain) -> dict[str, Any] | None:
    size, counts = value.get("size"), value.get("counts")
    size_fits = isinstance(size, list) and len(size) == 2 and all(map(is_whole, size))
    counts_fit = isinstance(counts, str) or (
        isinstance(counts, list) and all(map(is_whole, counts))
    )
    if not size_fits or not counts_fit:
        complain(
            MALFORMED,
            f"has an RLE with size {excerpt(size)} and counts {excerpt(counts)}; two whole "
            "numbers, and a text or a list of whole numbers, are expected.",
        )
        return None
    return value


def _read_iscrowd(entry: dict[str, Any], complain: Complain) -> int | None:
    value = entry.get("iscrowd")
    if value is None:
        return None
    if value not in (0, 1):
        complain(MALFORMED, f"has the iscrowd {excerpt(value)}; 0 or 1 is expected.")
        return None
    return int(value)


def _is_polygon(value: Any) -> bool:
    return isinstance(value, list) and set(map(type, value)) <= {int, float}


def _about_file(sentence: str) -> Finding:
    return Finding("error", "not a COCO file", sentence)


def _about_entry(kind: str, sentence: str, section: str, entry: Any) -> Finding:
    fields = entry if isinstance(entry, dict) else {}
    own_id: Id | None = fields["id"] if is_id(fields.get("id")) else None
    if section == "images":
        name = file_name(fields)
        return Finding("error", kind, sentence, name if isinstance(name, str) else "", own_id)
    if section == "annotations":
        image_id = fields["image_id"] if is_id(fields.get("image_id")) else None
        ids = () if own_id is None else (own_id,)
        return Finding("error", kind, sentence, "", image_id, ids)
    return Finding("error", kind, sentence)

"""What is known about the data sets that ship by name: classes, ids, colours, keypoints."""

from typing import Any

from d2seg.core.data.datasets.ade20k_categories import ADE20K_CATEGORIES
from d2seg.core.data.datasets.cityscapes_labels import CITYSCAPES_LABELS
from d2seg.core.data.datasets.coco_categories import COCO_CATEGORIES

_BODY = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")

COCO_PERSON_KEYPOINT_NAMES = (
    "nose",
    *(f"{side}_{part}" for part in _BODY for side in ("left", "right")),
)
"""In the order of the annotations."""

COCO_PERSON_KEYPOINT_FLIP_MAP = tuple((f"left_{part}", f"right_{part}") for part in _BODY)
"""Which change places when an image is mirrored."""

KEYPOINT_CONNECTION_RULES = [
    ("left_ear", "left_eye", (102, 204, 255)),
    ("right_ear", "right_eye", (51, 153, 255)),
    ("left_eye", "nose", (102, 0, 204)),
    ("nose", "right_eye", (51, 102, 255)),
    ("left_shoulder", "right_shoulder", (255, 128, 0)),
    ("left_shoulder", "left_elbow", (153, 255, 204)),
    ("right_shoulder", "right_elbow", (128, 229, 255)),
    ("left_elbow", "left_wrist", (153, 255, 153)),
    ("right_elbow", "right_wrist", (102, 255, 224)),
    ("left_hip", "right_hip", (255, 102, 0)),
    ("left_hip", "left_knee", (255, 255, 77)),
    ("right_hip", "right_knee", (153, 255, 204)),
    ("left_knee", "left_ankle", (191, 255, 128)),
    ("right_knee", "right_ankle", (255, 195, 77)),
]
"""Which keypoints are joined when drawn, and in which colour (red, green, blue)."""

CITYSCAPES_CATEGORIES = [
    {
        "id": label.id,
        "trainId": label.train_id,
        "name": label.name,
        "isthing": int(label.has_instances),
        "color": list(label.color),
    }
    for label in CITYSCAPES_LABELS
]
"""The 19 classes that count, in the order of their train ids."""

_THINGS_AS_STUFF = {"name": "things", "color": [82, 18, 128]}


def _get_builtin_metadata(dataset_name: str) -> dict[str, Any]:
    """Return what is known about a family of data sets.

    Args:
        dataset_name: ``coco``, ``coco_panoptic_separated``, ``coco_panoptic_standard``,
            ``coco_person``, ``cityscapes`` or ``ade20k_sem_seg``.

    Raises:
        KeyError: There is no such family.
    """
    if dataset_name not in _FAMILIES:
        raise KeyError(
            f"Nothing is built in for '{dataset_name}'; known: {', '.join(sorted(_FAMILIES))}."
        )
    return _FAMILIES[dataset_name]()


def _coco_instances() -> dict[str, Any]:
    things = _of_kind(isthing=1)
    return {
        "thing_dataset_id_to_contiguous_id": _numbered(things),
        "thing_classes": [category["name"] for category in things],
        "thing_colors": [category["color"] for category in things],
    }


def _coco_panoptic_separated() -> dict[str, Any]:
    """Things and stuff numbered apart, as Panoptic FPN's two heads do; stuff 0 is any thing."""
    stuff = [_THINGS_AS_STUFF, *_of_kind(isthing=0)]
    names = [category["name"].replace("-other", "").replace("-merged", "") for category in stuff]
    return {
        "stuff_dataset_id_to_contiguous_id": {**_numbered(stuff[1:], first=1), 0: 0},
        "stuff_classes": names,
        "stuff_colors": [category["color"] for category in stuff],
        **_coco_instances(),
    }


def _coco_panoptic_standard() -> dict[str, Any]:
    """Things and stuff numbered together, things first; both kinds of names are of all."""
    numbers = _numbered(COCO_CATEGORIES)
    names = [category["name"] for category in COCO_CATEGORIES]
    colours = [category["color"] for category in COCO_CATEGORIES]
    return {
        "thing_classes": names,
        "thing_colors": colours,
        "stuff_classes": list(names),
        "stuff_colors": list(colours),
        "thing_dataset_id_to_contiguous_id": _only(numbers, isthing=1),
        "stuff_dataset_id_to_contiguous_id": _only(numbers, isthing=0),
    }


def _coco_person() -> dict[str, Any]:
    return {
        "thing_classes": ["person"],
        "keypoint_names": COCO_PERSON_KEYPOINT_NAMES,
        "keypoint_flip_map": COCO_PERSON_KEYPOINT_FLIP_MAP,
        "keypoint_connection_rules": KEYPOINT_CONNECTION_RULES,
    }


def _cityscapes() -> dict[str, Any]:
    return {
        "thing_classes": [label["name"] for label in CITYSCAPES_CATEGORIES if label["isthing"]],
        "stuff_classes": [label["name"] for label in CITYSCAPES_CATEGORIES],
    }


_FAMILIES = {
    "coco": _coco_instances,
    "coco_panoptic_separated": _coco_panoptic_separated,
    "coco_panoptic_standard": _coco_panoptic_standard,
    "coco_person": _coco_person,
    "cityscapes": _cityscapes,
    "ade20k_sem_seg": lambda: {"stuff_classes": list(ADE20K_CATEGORIES)},
}


def _of_kind(isthing: int) -> list[dict[str, Any]]:
    return [category for category in COCO_CATEGORIES if category["isthing"] == isthing]


def _numbered(categories: list[dict[str, Any]], first: int = 0) -> dict[int, int]:
    return {category["id"]: number for number, category in enumerate(categories, start=first)}


def _only(numbers: dict[int, int], isthing: int) -> dict[int, int]:
    return {category["id"]: numbers[category["id"]] for category in _of_kind(isthing)}

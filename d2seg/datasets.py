"""Data sets that a config declares, so that training on one's own data needs no Python."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2seg.framework import (
    CfgNode,
    DatasetCatalog,
    MetadataCatalog,
    PathManager,
    register_coco_instances,
    register_coco_panoptic_separated,
    register_lvis_instances,
)
from d2seg.keypoint_names import find_mirror_pairs

ENTRY_KEYS = {
    "coco": ("json", "image_root"),
    "lvis": ("json", "image_root"),
    "coco_panoptic": ("json", "image_root", "panoptic_json", "panoptic_root", "sem_seg_root"),
}
"""For each type of data set what an entry has; all but ``type`` are files and folders."""

_OPTIONAL_KEYS = {"coco": ("type", "keypoint_flip_map")}

CLASS_SECTIONS = {
    "GeneralizedRCNN": "ROI_HEADS",
    "PanopticFPN": "ROI_HEADS",
    "RetinaNet": "RETINANET",
}
"""For each architecture the section of ``MODEL`` with the NUM_CLASSES that its data must have."""

logger = logging.getLogger(__name__)


def register_datasets(cfg: CfgNode) -> None:
    """Register the data sets of ``DATASETS.REGISTER`` under their names.

        DATASETS:
          REGISTER:
            nuclei_train: {json: nuclei/train.json, image_root: nuclei/images}
          TRAIN: [nuclei_train]

    Paths are relative to the working folder, as all paths in a config. ``type`` is ``coco`` (the
    default), ``lvis``, or ``coco_panoptic``, which also has ``panoptic_json``, ``panoptic_root``
    and ``sem_seg_root`` and registers ``NAME_separated`` and ``NAME_stuffonly`` as detectron2 does
    (``json`` has the instances; tools/prepare_panoptic_fpn.py makes the label maps).

    With ``MODEL.KEYPOINT_ON`` the names of keypoints, and which change places in a mirrored image,
    are read from the categories, from names such as ``left_eye``, ``L_eye`` and ``eye_r``; for
    other names ``keypoint_flip_map`` of a ``coco`` entry lists the pairs. A data set that is
    registered already with the same files stays as it is.

    Args:
        cfg: The whole config. Not modified.

    Raises:
        ValueError: An entry is incomplete, or its name is taken by another data set.
        FileNotFoundError: The JSON file or the folder of images does not exist.
    """
    for name, entry in cfg.DATASETS.REGISTER.items():
        _check_entry(name, entry)
        if not _is_registered(name, entry):
            _REGISTER[entry.get("type", "coco")](name, entry, cfg)


def _register_coco(name: str, entry: dict[str, Any], cfg: CfgNode) -> None:
    flips = cfg.INPUT.RANDOM_FLIP != "none"
    metadata = _keypoint_metadata(name, entry, flips) if cfg.MODEL.KEYPOINT_ON else {}
    register_coco_instances(name, metadata, entry["json"], entry["image_root"])


def _register_lvis(name: str, entry: dict[str, Any], cfg: CfgNode) -> None:
    register_lvis_instances(name, {}, entry["json"], entry["image_root"])


def _register_panoptic(name: str, entry: dict[str, Any], cfg: CfgNode) -> None:
    categories = sorted(_categories(entry["panoptic_json"]), key=lambda category: category["id"])
    things = [category for category in categories if category["isthing"]]
    stuff = [category for category in categories if not category["isthing"]]
    metadata = {
        "thing_classes": [category["name"] for category in things],
        "thing_dataset_id_to_contiguous_id": {one["id"]: i for i, one in enumerate(things)},
        # In the label maps all things are class 0.
        "stuff_classes": ["things", *(category["name"] for category in stuff)],
        "stuff_dataset_id_to_contiguous_id": {0: 0}
        | {one["id"]: i for i, one in enumerate(stuff, start=1)},
    }
    register_coco_panoptic_separated(
        name,
        metadata,
        entry["image_root"],
        entry["panoptic_root"],
        entry["panoptic_json"],
        entry["sem_seg_root"],
        entry["json"],
    )


_REGISTER = {"coco": _register_coco, "lvis": _register_lvis, "coco_panoptic": _register_panoptic}


def fill_num_classes(cfg: CfgNode) -> None:
    """Replace a ``NUM_CLASSES`` of -1 by the number of categories of the data set, in place.

    Args:
        cfg: The whole config; ``MODEL.ROI_HEADS.NUM_CLASSES`` and ``MODEL.RETINANET.NUM_CLASSES``
            are looked at. The first data set of ``DATASETS.TRAIN`` counts, or else of ``TEST``.

    Raises:
        ValueError: There is no data set to count the categories of.
    """
    wanted = [part for part in (cfg.MODEL.ROI_HEADS, cfg.MODEL.RETINANET) if part.NUM_CLASSES == -1]
    if not wanted:
        return
    names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
    if not names:
        raise ValueError(
            "NUM_CLASSES is -1, to be taken from the data set, but DATASETS.TRAIN and "
            "DATASETS.TEST are empty; name a data set or give the number."
        )
    count = len(thing_classes(names[0]))
    for part in wanted:
        part.NUM_CLASSES = count


def thing_classes(name: str) -> list[str]:
    """Return the class names of a registered data set, reading its JSON file if need be.

    Raises:
        KeyError: There is no data set of this name.
        ValueError: Nothing tells its classes.
    """
    if name not in DatasetCatalog.list():
        DatasetCatalog.get(name)  # raises, and says which names there are
    metadata = MetadataCatalog.get(name)
    known = metadata.get("thing_classes", None)
    if known is None and metadata.get("json_file", None) is not None:
        by_id = sorted(_categories(metadata.json_file), key=lambda category: category["id"])
        known = [category["name"] for category in by_id]
    if known is None:
        raise ValueError(
            f"The classes of data set '{name}' are not known: it has neither thing_classes nor a "
            "json_file in its metadata."
        )
    return list(known)


def dataset_class_names(name: str) -> list[str]:
    """Return the class names of a registered data set or of a COCO file, by rising id.

    Args:
        name: Of the data set, or a path that ends in ``.json``.

    Raises:
        KeyError: There is no data set of this name.
        FileNotFoundError: There is no such file.
        ValueError: Nothing tells the classes.
    """
    if not name.endswith(".json"):
        return thing_classes(name)
    by_id = sorted(_categories(name), key=lambda category: category["id"])
    return [category["name"] for category in by_id]


def read_coco_file(json_file: str | Path, sections: Sequence[str]) -> dict[str, Any]:
    """Read a COCO-format JSON file and see that it has the lists that are needed of it.

    Args:
        json_file: A path or an address.
        sections: Names of lists, such as ``images``; they may be empty.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, or lacks one of the lists.
    """
    with PathManager.open(str(json_file), encoding="utf-8") as file:
        try:
            content = json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"'{json_file}' is not JSON: {error}.") from error
    for section in sections:
        if not isinstance(content, dict) or not isinstance(content.get(section), list):
            raise ValueError(f"'{json_file}' has no {section}; a COCO file has a list of them.")
    return content


def _check_entry(name: str, entry: Any) -> None:
    where = f"DATASETS.REGISTER.{name}"
    kind = entry.get("type", "coco") if isinstance(entry, dict) else "coco"
    if kind not in ENTRY_KEYS:
        raise ValueError(f"{where}.type is '{kind}'; use one of {', '.join(ENTRY_KEYS)}.")
    keys = ENTRY_KEYS[kind]
    optional = set(_OPTIONAL_KEYS.get(kind, ("type",)))
    if not isinstance(entry, dict) or set(entry) - optional != set(keys):
        found = ", ".join(sorted(entry)) if isinstance(entry, dict) else repr(entry)
        raise ValueError(
            f"{where} of type {kind} needs the keys {', '.join(keys)}; found {found or 'none'}."
        )
    for key in keys:
        is_there = PathManager.isfile if key.endswith("json") else PathManager.isdir
        if not is_there(entry[key]):
            what = "file" if key.endswith("json") else "folder"
            raise FileNotFoundError(
                f"{where}.{key}: there is no {what} '{entry[key]}' (relative paths start at "
                f"{Path.cwd()})."
            )


def _is_registered(name: str, entry: dict[str, Any]) -> bool:
    if entry.get("type") == "coco_panoptic":
        name = f"{name}_separated"
    if name not in DatasetCatalog.list():
        return False
    metadata = MetadataCatalog.get(name)
    known = (metadata.get("json_file", None), metadata.get("image_root", None))
    if known != (entry["json"], entry["image_root"]):
        raise ValueError(
            f"DATASETS.REGISTER: a data set '{name}' is registered already, with other files "
            f"({known[0]}); choose another name."
        )
    return True


def _categories(json_file: str) -> list[dict[str, Any]]:
    content = read_coco_file(json_file, ["categories"])
    if not content["categories"]:
        raise ValueError(f"'{json_file}' has no categories; its list of them is empty.")
    return content["categories"]


def _keypoint_metadata(name: str, entry: dict[str, Any], flips: bool) -> dict[str, Any]:
    """Return names of keypoints and pairs that change places, if the categories have keypoints."""
    named = [
        category["keypoints"] for category in _categories(entry["json"]) if "keypoints" in category
    ]
    if not named:
        return {}
    if "keypoint_flip_map" in entry:
        pairs = _declared_pairs(name, entry["keypoint_flip_map"], named[0])
    else:
        pairs = find_mirror_pairs(named[0])
        if flips and not pairs:
            logger.warning(
                "The names of the keypoints of '%s' (%s) do not tell which change places in a "
                "mirrored image, so none does: give DATASETS.REGISTER.%s.keypoint_flip_map, a list "
                "of pairs of names, or set INPUT.RANDOM_FLIP to none.",
                *(name, ", ".join(named[0]), name),
            )
    return {"keypoint_names": named[0], "keypoint_flip_map": pairs}


def _declared_pairs(name: str, pairs: Any, names: list[str]) -> list[tuple[str, str]]:
    where = f"DATASETS.REGISTER.{name}.keypoint_flip_map"
    if not isinstance(pairs, list | tuple):
        raise ValueError(f"{where} must be a list of pairs of names; found {pairs!r}.")
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or set(pair) - set(names):
            raise ValueError(
                f"{where} has {pair!r}, but must have pairs of keypoint names; they are "
                f"{', '.join(names)}."
            )
    return [(left, right) for left, right in pairs]

"""Data sets that a config declares, so that training on one's own data needs no Python."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from d2seg.framework import (
    CfgNode,
    DatasetCatalog,
    MetadataCatalog,
    PathManager,
    register_coco_instances,
    register_lvis_instances,
)

REGISTER_FUNCTIONS = {"coco": register_coco_instances, "lvis": register_lvis_instances}
ENTRY_KEYS = ("json", "image_root", "type")

_MIRRORED = (("left", "right"), ("Left", "Right"))


def register_datasets(cfg: CfgNode) -> None:
    """Register the data sets of ``DATASETS.REGISTER`` under their names.

        DATASETS:
          REGISTER:
            nuclei_train: {json: nuclei/train.json, image_root: nuclei/images}
          TRAIN: [nuclei_train]

    Paths are relative to the working folder, as all paths in a config. ``type`` is ``coco`` (the
    default) or ``lvis``. With ``MODEL.KEYPOINT_ON`` the names of keypoints, and which change places
    in a mirrored image, are read from the categories. A data set that is registered already with
    the same files stays as it is.

    Args:
        cfg: The whole config. Not modified.

    Raises:
        ValueError: An entry is incomplete, or its name is taken by another data set.
        FileNotFoundError: The JSON file or the folder of images does not exist.
    """
    for name, entry in cfg.DATASETS.REGISTER.items():
        _check_entry(name, entry)
        if not _is_registered(name, entry):
            register = REGISTER_FUNCTIONS[entry.get("type", "coco")]
            metadata = _keypoint_metadata(entry["json"]) if cfg.MODEL.KEYPOINT_ON else {}
            register(name, metadata, entry["json"], entry["image_root"])


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


def _check_entry(name: str, entry: Any) -> None:
    found = sorted(entry) if isinstance(entry, dict) else repr(entry)
    if not isinstance(entry, dict) or not {"json", "image_root"} <= set(entry) <= set(ENTRY_KEYS):
        raise ValueError(
            f"DATASETS.REGISTER.{name} needs the keys json and image_root, and may have type; "
            f"found {found}."
        )
    if entry.get("type", "coco") not in REGISTER_FUNCTIONS:
        raise ValueError(
            f"DATASETS.REGISTER.{name}.type is '{entry['type']}'; use one of "
            f"{', '.join(REGISTER_FUNCTIONS)}."
        )
    if not PathManager.isfile(entry["json"]):
        raise FileNotFoundError(
            f"DATASETS.REGISTER.{name}.json: there is no file '{entry['json']}' (relative paths "
            f"start at {Path.cwd()})."
        )
    if not PathManager.isdir(entry["image_root"]):
        raise FileNotFoundError(
            f"DATASETS.REGISTER.{name}.image_root: there is no folder '{entry['image_root']}' "
            f"(relative paths start at {Path.cwd()})."
        )


def _is_registered(name: str, entry: dict[str, str]) -> bool:
    if name not in DatasetCatalog.list():
        return False
    metadata = MetadataCatalog.get(name)
    known = (metadata.get("json_file", None), metadata.get("image_root", None))
    if known != (entry["json"], entry["image_root"]):
        raise ValueError(
            f"DATASETS.REGISTER.{name}: a data set of this name is registered already, with other "
            f"files ({known[0]}); choose another name."
        )
    return True


def _categories(json_file: str) -> list[dict[str, Any]]:
    with PathManager.open(json_file) as file:
        try:
            content = json.load(file)
        except json.JSONDecodeError as error:
            raise ValueError(f"'{json_file}' is not JSON: {error}.") from error
    if not isinstance(content, dict) or not content.get("categories"):
        raise ValueError(f"'{json_file}' has no categories; a COCO file has a list of them.")
    return content["categories"]


def _keypoint_metadata(json_file: str) -> dict[str, Any]:
    named = [
        category["keypoints"] for category in _categories(json_file) if "keypoints" in category
    ]
    if not named:
        return {}
    return {"keypoint_names": named[0], "keypoint_flip_map": list(_mirror_pairs(named[0]))}


def _mirror_pairs(names: list[str]) -> Iterable[tuple[str, str]]:
    """Yield the pairs of names that differ in left and right."""
    for name in names:
        for left, right in _MIRRORED:
            if left in name and name.replace(left, right) in names:
                yield name, name.replace(left, right)

"""The names of the classes a model tells apart."""

import json
import pickle
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from d2seg.core.runtime.untrusted.torch_files import load_torch
from d2seg.framework import CfgNode, MetadataCatalog, PathManager


def class_names(cfg: CfgNode) -> list[str]:
    """Find the class names of a model, in the order of its class indices.

    They come from the first registered data set of ``DATASETS.TEST`` and ``DATASETS.TRAIN`` that
    has as many ``thing_classes`` as the model has classes; else from the weights, where a training
    or an export of the plugin leaves them; else they are ``class 0``, ``class 1`` and so on.

    Args:
        cfg: The model's config.
    """
    dense = cfg.MODEL.META_ARCHITECTURE == "RetinaNet"
    number = (cfg.MODEL.RETINANET if dense else cfg.MODEL.ROI_HEADS).NUM_CLASSES
    registered = MetadataCatalog.list()
    datasets = [name for name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN) if name in registered]
    candidates = [MetadataCatalog.get(name).get("thing_classes", None) for name in datasets]
    candidates.append(_names_in_weights(cfg.MODEL.WEIGHTS))
    for names in candidates:
        if names is not None and len(names) == number:
            return list(names)
    return [f"class {index}" for index in range(number)]


def _names_in_weights(weights: str) -> list[str] | None:
    readers = {".safetensors": _names_in_safetensors, ".pth": _names_in_checkpoint}
    reader = readers.get(Path(weights).suffix)
    if reader is None:
        return None
    path = Path(PathManager.get_local_path(weights))
    return reader(path) if path.is_file() else None


def _names_in_safetensors(path: Path) -> list[str] | None:
    try:
        with safe_open(path, framework="pt") as file:
            names = json.loads((file.metadata() or {}).get("classes", "null"))
    except (SafetensorError, ValueError, RecursionError):
        return None
    return names if _are_names(names) else None


def _names_in_checkpoint(path: Path) -> list[str] | None:
    try:
        checkpoint = load_torch(path, mapped=True)  # only the names are looked at
    except pickle.UnpicklingError:  # whoever loads the weights says what is wrong with them
        return None
    saved = checkpoint.get("classes") if isinstance(checkpoint, dict) else None
    names = saved.get("thing_classes") if isinstance(saved, dict) else None
    return names if _are_names(names) else None


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)

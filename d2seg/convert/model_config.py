"""The config that goes with converted weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import yaml
from torch import Tensor

from d2seg.config import CONVENTIONS, add_d2seg_config, load_config
from d2seg.convert.conventions import (
    CAFFE2_BACKBONE,
    IMAGENET,
    TORCHVISION,
    Conventions,
    legacy_conventions,
)
from d2seg.convert.settings import infer_settings
from d2seg.convert.source import CAFFE2, DETECTRON2, RESNET, Source
from d2seg.convert.source import TORCHVISION as TORCHVISION_DETECTION
from d2seg.framework import CfgNode, build_model, get_cfg

_LEGACY_EPS = ("bf2d0c1e", "258fb6c6", "fc266e95")
"""How the digests of torchvision's first detectors begin, which add nothing to the variance."""

_COCO_CLASSES = 80

_OWN_KEYS = sorted(f"{path}.{key}" for path, keys in CONVENTIONS.items() for key in keys)


def make_config(source: Source, norm_eps: float | None = None) -> tuple[CfgNode, Conventions]:
    """Make the config of a file that was read, with detectron2's names.

    Args:
        source: Of another toolbox than detectron2.
        norm_eps: What the norms of the backbone add to the variance; None for the usual 1e-5, and
            for 0 in torchvision's published detectors that were made so.

    Returns:
        The config, not frozen, and how the toolbox computes.

    Raises:
        ValueError: The tensors are of no architecture that can be built, or incomplete.
    """
    settings = infer_settings(source.renamed.model)
    conventions = conventions_of(source, settings["MODEL.RESNETS.NUM_GROUPS"] > 1)
    settings |= conventions.settings
    if norm_eps is None and source.digest.startswith(_LEGACY_EPS):
        norm_eps = 0.0
    if norm_eps is not None:
        settings["MODEL.RESNETS.NORM_EPS"] = norm_eps
    if settings.get("MODEL.RESNETS.NORM") in ("", "GN"):
        settings["MODEL.BACKBONE.FREEZE_AT"] = 0
    base = "Base-RCNN-FPN.yaml" if _has_pyramid(source) else "Base-RCNN-C4.yaml"
    cfg = load_config(f"configs://{base}")
    for key, value in settings.items():
        _assign(cfg, key, value)
    if cfg.MODEL.ROI_HEADS.NUM_CLASSES != _COCO_CLASSES:
        cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    if not source.is_backbone:
        require_complete(source.renamed.model, cfg, str(source.path))
    return cfg, conventions


def conventions_of(source: Source, has_groups: bool) -> Conventions:
    """Return how the toolbox that a file is of computes.

    Args:
        source: What was read.
        has_groups: Whether it is a ResNeXt.
    """
    if source.format == TORCHVISION_DETECTION:
        return TORCHVISION
    if source.format == RESNET:
        return IMAGENET
    if source.format == CAFFE2:
        return CAFFE2_BACKBONE
    if source.format == DETECTRON2:
        return Conventions({})
    return legacy_conventions(_has_pyramid(source), has_groups)


def _has_pyramid(source: Source) -> bool:
    return source.is_backbone or "backbone.fpn_lateral2.weight" in source.renamed.model


def require_complete(model: Mapping[str, Tensor], cfg: CfgNode, path: str) -> None:
    """Check that tensors have exactly the names and shapes of the model that a config describes.

    Args:
        model: detectron2's name to tensor.
        cfg: The config.
        path: Of the file, for the message.

    Raises:
        ValueError: Names what is missing, unexpected or of another shape.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in _meta_state(cfg).items()}
    missing = [name for name in wanted if name not in model and not _is_optional(name)]
    extra = [name for name in model if name not in wanted and not _is_optional(name)]
    reshaped = [
        f"{name} {tuple(model[name].shape)}, not {wanted[name]}"
        for name in wanted
        if name in model and tuple(model[name].shape) != wanted[name]
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        for what, names in (
            ("missing", missing),
            ("that the model has no place for", extra),
            ("of another shape", reshaped),
        )
        if names
    ]
    if problems:
        raise ValueError(
            f"'{path}' does not hold the whole model that its names tell of: {'; '.join(problems)}."
        )


def config_text(cfg: CfgNode, comments: Sequence[str] = ()) -> str:
    """Write a config as YAML: only the keys that differ from detectron2's defaults.

    Args:
        cfg: The config.
        comments: Lines to begin with.
    """
    defaults = get_cfg()
    add_d2seg_config(defaults)
    changed = _difference(yaml.safe_load(cfg.dump()), yaml.safe_load(defaults.dump()))
    lines = [f"# {line}" for line in comments]
    return "\n".join([*lines, "VERSION: 2", yaml.safe_dump(changed, default_flow_style=None)])


def own_keys_of(cfg: CfgNode) -> list[str]:
    """List the keys of a config that detectron2 does not know and that change what it computes."""
    defaults = get_cfg()
    add_d2seg_config(defaults)
    return [key for key in _OWN_KEYS if _get(cfg, key) != _get(defaults, key)]


def _meta_state(cfg: CfgNode) -> dict[str, Tensor]:
    own = cfg.clone()
    own.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        state: dict[str, Tensor] = build_model(own).state_dict()
    return state


def _is_optional(name: str) -> bool:
    return name.endswith("num_batches_tracked") or name in ("pixel_mean", "pixel_std")


def _assign(cfg: CfgNode, key: str, value: Any) -> None:
    *path, last = key.split(".")
    section = cfg
    for name in path:
        section = section[name]
    section[last] = value


def _get(cfg: CfgNode, key: str) -> Any:
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def _difference(mine: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    changed = {}
    for key, value in mine.items():
        if key == "VERSION":
            continue
        if isinstance(value, dict) and isinstance(defaults.get(key), dict):
            inner = _difference(value, defaults[key])
            if inner:
                changed[key] = inner
        elif value != defaults.get(key):
            changed[key] = value
    return changed

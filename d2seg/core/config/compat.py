"""Configs of older versions: the keys that were renamed, and moving a config between versions."""

import copy
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from d2seg.core.config.config import CfgNode

logger = logging.getLogger(__name__)

Tree = TypeVar("Tree", bound=dict[str, Any])

LATEST_VERSION = 2

# The old and the new name of each key, by the version that brought the new one.
RENAMED: dict[int, dict[str, str]] = {
    1: {"MODEL.RPN_HEAD.NAME": "MODEL.RPN.HEAD_NAME"},
    2: {
        "MODEL.WEIGHT": "MODEL.WEIGHTS",
        "MODEL.PANOPTIC_FPN.SEMANTIC_LOSS_SCALE": "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT",
        "MODEL.PANOPTIC_FPN.RPN_LOSS_SCALE": "MODEL.RPN.LOSS_WEIGHT",
        "MODEL.PANOPTIC_FPN.INSTANCE_LOSS_SCALE": "MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT",
        "MODEL.PANOPTIC_FPN.COMBINE_ON": "MODEL.PANOPTIC_FPN.COMBINE.ENABLED",
        "MODEL.PANOPTIC_FPN.COMBINE_OVERLAP_THRESHOLD": "MODEL.PANOPTIC_FPN.COMBINE.OVERLAP_THRESH",
        "MODEL.PANOPTIC_FPN.COMBINE_STUFF_AREA_LIMIT": (
            "MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT"
        ),
        "MODEL.PANOPTIC_FPN.COMBINE_INSTANCES_CONFIDENCE_THRESHOLD": (
            "MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH"
        ),
        "MODEL.ROI_HEADS.SCORE_THRESH": "MODEL.ROI_HEADS.SCORE_THRESH_TEST",
        "MODEL.ROI_HEADS.NMS": "MODEL.ROI_HEADS.NMS_THRESH_TEST",
        "MODEL.RETINANET.INFERENCE_SCORE_THRESHOLD": "MODEL.RETINANET.SCORE_THRESH_TEST",
        "MODEL.RETINANET.INFERENCE_TOPK_CANDIDATES": "MODEL.RETINANET.TOPK_CANDIDATES_TEST",
        "MODEL.RETINANET.INFERENCE_NMS_THRESHOLD": "MODEL.RETINANET.NMS_THRESH_TEST",
        "TEST.DETECTIONS_PER_IMG": "TEST.DETECTIONS_PER_IMAGE",
        "TEST.AUG_ON": "TEST.AUG.ENABLED",
        "TEST.AUG_MIN_SIZES": "TEST.AUG.MIN_SIZES",
        "TEST.AUG_MAX_SIZE": "TEST.AUG.MAX_SIZE",
        "TEST.AUG_FLIP": "TEST.AUG.FLIP",
    },
}

# Version 1 kept anchors twice, in the section of the RPN and in that of RetinaNet.
_ANCHOR_KEYS = {"ANCHOR_SIZES": "SIZES", "ANCHOR_ASPECT_RATIOS": "ASPECT_RATIOS"}


def upgrade_config(cfg: "CfgNode", to_version: int | None = None) -> "CfgNode":
    """Return a copy of ``cfg`` in a newer version, the latest unless told.

    Raises:
        ValueError: ``cfg`` is newer than ``to_version``.
    """
    target = LATEST_VERSION if to_version is None else to_version
    _require_order(cfg.VERSION, target, "upgrade")
    upgraded = upgrade_tree(cfg, cfg.VERSION, target, cfg.MODEL.META_ARCHITECTURE)
    upgraded.VERSION = target
    return upgraded


def downgrade_config(cfg: "CfgNode", to_version: int) -> "CfgNode":
    """Return a copy of ``cfg`` under the key names of an older version.

    Raises:
        ValueError: ``cfg`` is older than ``to_version``.
    """
    _require_order(to_version, cfg.VERSION, "downgrade")
    old = cfg.clone()
    for version in range(cfg.VERSION, to_version, -1):
        for old_key, new_key in RENAMED[version].items():
            _move(old, new_key, old_key)
        if version == 2:
            _downgrade_anchors(old)
    old.VERSION = to_version
    return old


def upgrade_tree(tree: Tree, from_version: int, to_version: int, meta_architecture: str) -> Tree:
    """Return a copy of a config, whole or partial, under the key names of a newer version.

    Args:
        tree: Nested sections; keys it does not have are left out.
        from_version: Version of ``tree``.
        to_version: Version wanted; the VERSION key itself is left as it is.
        meta_architecture: Says which of the two anchor settings of version 1 was the active one.

    Raises:
        ValueError: A key is present under its old and under its new name.
    """
    upgraded = copy.deepcopy(tree)
    for version in range(from_version + 1, to_version + 1):
        for old_key, new_key in RENAMED[version].items():
            _move(upgraded, old_key, new_key)
        if version == 2:
            _upgrade_anchors(upgraded, meta_architecture)
    return upgraded


def guess_version(tree: Mapping[str, Any], filename: str) -> int:
    """Return the version of a partial config that does not tell, by keys only version 1 had."""
    old = _has(tree, "MODEL.WEIGHT") or _has(tree, "TEST.AUG_ON")
    version = 1 if old else LATEST_VERSION
    logger.log(
        logging.WARNING if old else logging.INFO,
        "Config file '%s' has no VERSION; taking it for version %d.",
        filename,
        version,
    )
    return version


def _require_order(older: int, newer: int, verb: str) -> None:
    if not 0 <= older <= newer <= LATEST_VERSION:
        raise ValueError(
            f"Cannot {verb} a config between versions {older} and {newer}; versions run from 0 to "
            f"{LATEST_VERSION}."
        )


def _upgrade_anchors(tree: dict[str, Any], meta_architecture: str) -> None:
    used, unused = (
        ("RETINANET", "RPN") if meta_architecture == "RetinaNet" else ("RPN", "RETINANET")
    )
    for old_name, new_name in _ANCHOR_KEYS.items():
        _move(tree, f"MODEL.{used}.{old_name}", f"MODEL.ANCHOR_GENERATOR.{new_name}")
        _take(tree, f"MODEL.{unused}.{old_name}")
    _take(tree, "MODEL.RETINANET.ANCHOR_STRIDES")


def _downgrade_anchors(cfg: "CfgNode") -> None:
    for old_name, new_name in _ANCHOR_KEYS.items():
        _move(cfg, f"MODEL.ANCHOR_GENERATOR.{new_name}", f"MODEL.RPN.{old_name}")
        cfg.MODEL.RETINANET[old_name] = copy.deepcopy(cfg.MODEL.RPN[old_name])
    cfg.MODEL.RETINANET["ANCHOR_STRIDES"] = []


def _move(tree: dict[str, Any], old_key: str, new_key: str) -> None:
    if not _has(tree, old_key):
        return
    if _has(tree, new_key):
        raise ValueError(
            f"Config key '{old_key}' is the old name of '{new_key}'; give only one of them."
        )
    section = tree
    *sections, name = new_key.split(".")
    value = _take(tree, old_key)
    for part in sections:
        section = section.setdefault(part, type(tree)())
    section[name] = value


def _take(tree: dict[str, Any], key: str) -> Any:
    """Remove a key and every section this leaves empty; return its value, None if absent."""
    if not _has(tree, key):
        return None
    head, _, rest = key.partition(".")
    if not rest:
        return tree.pop(head)
    value = _take(tree[head], rest)
    if not tree[head]:
        del tree[head]
    return value


def _has(tree: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(tree, Mapping) or part not in tree:
            return False
        tree = tree[part]
    return True

"""Which evaluator a data set needs, and the results as a file."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from d2seg.core.runtime.files import replace_when_complete
from d2seg.framework import (
    CfgNode,
    CityscapesInstanceEvaluator,
    CityscapesSemSegEvaluator,
    COCOEvaluator,
    COCOPanopticEvaluator,
    DatasetEvaluators,
    LVISEvaluator,
    MetadataCatalog,
    PascalVOCDetectionEvaluator,
    RotatedCOCOEvaluator,
    SemSegEvaluator,
)

_WITHOUT_LABEL_MAPS = ("GeneralizedRCNN", "ProposalNetwork", "RetinaNet", "FCOS")
"""The architectures of detectron2 that predict no ``sem_seg``; others may."""


def build_evaluator(cfg: CfgNode, dataset_name: str, folder: str | Path) -> Any:
    """Return the evaluator of a data set, as the ``evaluator_type`` of its metadata says.

    Args:
        cfg: The whole config; the model must suit the data set.
        dataset_name: A registered data set.
        folder: Predictions and results are written there.

    Raises:
        ValueError: There is no evaluator of that type, or the model predicts nothing of the kind.
    """
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type", None)
    if kind not in _BUILDERS:
        raise ValueError(
            f"Data set '{dataset_name}' has evaluator_type {kind!r} in its metadata; it must be "
            f"one of {', '.join(_BUILDERS)} to be evaluated."
        )
    return _BUILDERS[kind](cfg, dataset_name, str(folder))


def _coco(cfg: CfgNode, name: str, folder: str) -> Any:
    if cfg.MODEL.ANCHOR_GENERATOR.NAME == "RotatedAnchorGenerator":
        return RotatedCOCOEvaluator(name, output_dir=folder)
    sigmas = cfg.TEST.KEYPOINT_OKS_SIGMAS
    return COCOEvaluator(name, output_dir=folder, kpt_oks_sigmas=sigmas)


def _sem_seg(cfg: CfgNode, name: str, folder: str) -> Any:
    if not _gives_sem_seg(cfg):
        raise ValueError(
            f"Data set '{name}' has label maps only, but a {cfg.MODEL.META_ARCHITECTURE} predicts "
            "none: leave it out of DATASETS.TEST, or train a SemanticSegmentor or a PanopticFPN "
            "(MODEL.META_ARCHITECTURE)."
        )
    return SemSegEvaluator(name, output_dir=folder)


def _panoptic(cfg: CfgNode, name: str, folder: str) -> Any:
    parts: list[Any] = []
    if _gives_sem_seg(cfg):
        parts.append(SemSegEvaluator(name, output_dir=folder))
    if _gives_panoptic(cfg):
        parts.append(COCOPanopticEvaluator(name, folder))
    has_objects = MetadataCatalog.get(name).get("json_file", None) is not None
    if has_objects and cfg.MODEL.META_ARCHITECTURE != "SemanticSegmentor":
        parts.append(_coco(cfg, name, folder))
    if not parts:
        raise ValueError(
            f"Data set '{name}' has no annotated objects (json_file in its metadata), and a "
            f"{cfg.MODEL.META_ARCHITECTURE} predicts no label maps: nothing can be evaluated."
        )
    return DatasetEvaluators(parts)


def _gives_sem_seg(cfg: CfgNode) -> bool:
    return cfg.MODEL.META_ARCHITECTURE not in _WITHOUT_LABEL_MAPS


def _gives_panoptic(cfg: CfgNode) -> bool:
    is_panoptic = cfg.MODEL.META_ARCHITECTURE == "PanopticFPN"
    return is_panoptic and cfg.MODEL.PANOPTIC_FPN.COMBINE.ENABLED


_BUILDERS: dict[str, Callable[[CfgNode, str, str], Any]] = {
    "coco": _coco,
    "coco_panoptic_seg": _panoptic,
    "sem_seg": _sem_seg,
    "lvis": lambda cfg, name, folder: LVISEvaluator(name, output_dir=folder),
    "pascal_voc": lambda cfg, name, folder: PascalVOCDetectionEvaluator(name),
    "cityscapes_instance": lambda cfg, name, folder: CityscapesInstanceEvaluator(name),
    "cityscapes_sem_seg": lambda cfg, name, folder: CityscapesSemSegEvaluator(name),
}


def write_results(results: Mapping[str, Any], path: Path) -> None:
    """Write results by task and metric as JSON; numbers that do not exist become null."""
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(_without_nan(results), indent=2) + "\n", encoding="utf-8")


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_nan(inner) for key, inner in value.items()}
    number = float(value)
    return number if math.isfinite(number) else None

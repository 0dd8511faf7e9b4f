"""Other limits of detection than those a model was tested with."""

import copy
from typing import Any

from d2seg.export.families import box_predictors
from d2seg.framework import CfgNode


def limit_config(
    cfg: CfgNode, score_threshold: float | None, max_detections: int | None
) -> CfgNode:
    """Copy a config with other limits.

    Args:
        cfg: Not modified.
        score_threshold: Detections score above this, in [0, 1]; None for what it has.
        max_detections: At most this many detections of an image; None for what it has.

    Raises:
        ValueError: A limit is out of its range.
    """
    if score_threshold is not None and not 0 <= score_threshold <= 1:
        raise ValueError(
            f"score_threshold (--score-threshold) is {score_threshold}, but scores are from 0 to 1."
        )
    if max_detections is not None and max_detections < 1:
        raise ValueError(
            f"max_detections (--max-detections) is {max_detections}, but must be at least 1."
        )
    limited = cfg.clone()
    limited.defrost()
    if score_threshold is not None:
        for section in (limited.MODEL.ROI_HEADS, limited.MODEL.RETINANET):
            section.SCORE_THRESH_TEST = float(score_threshold)
    if max_detections is not None:
        limited.TEST.DETECTIONS_PER_IMAGE = max_detections
    return limited


def limit_model(
    model: Any, score_threshold: float | None = None, max_detections: int | None = None
) -> Any:
    """Copy a model with other limits to the CPU, for inference.

    Args:
        model: Of either framework. Not modified.
        score_threshold: See :func:`limit_config`.
        max_detections: See :func:`limit_config`.
    """
    limited = copy.deepcopy(model).eval().cpu()
    heads = getattr(limited, "roi_heads", None)
    parts = [limited] if heads is None else box_predictors(heads)
    count_name = "max_detections_per_image" if heads is None else "test_topk_per_image"
    for part in parts:
        if score_threshold is not None:
            part.test_score_thresh = score_threshold
        if max_detections is not None:
            setattr(part, count_name, max_detections)
    return limited

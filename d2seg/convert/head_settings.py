"""Reading the heads of a detector off the names and shapes of its tensors."""

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor

from d2seg.convert.layers import count_numbers, norm_of, weight_of

Settings = dict[str, Any]
"""Config keys and their values."""

_HEADS = "roi_heads."


def head_settings(model: Mapping[str, Tensor]) -> Settings:
    """Describe the heads; a proposal network has none."""
    predictor = f"{_HEADS}box_predictor"
    if f"{predictor}.cls_score.weight" not in model:
        return {"MODEL.META_ARCHITECTURE": "ProposalNetwork"}
    classes = len(weight_of(model, f"{predictor}.cls_score", 2)) - 1
    box_rows = len(weight_of(model, f"{predictor}.bbox_pred", 2))
    return {
        "MODEL.ROI_HEADS.NUM_CLASSES": classes,
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": box_rows == 4 and classes > 1,
        **_box_head_settings(model),
        **_mask_settings(model, classes),
        **_keypoint_settings(model),
    }


def _box_head_settings(model: Mapping[str, Tensor]) -> Settings:
    head = f"{_HEADS}box_head."
    convs = count_numbers(model, rf"{re.escape(head)}conv(\d+)\.")
    linears = count_numbers(model, rf"{re.escape(head)}fc(\d+)\.")
    if not linears:
        return {}  # C4: res5 instead
    first = weight_of(model, f"{head}fc1", 2)
    channels = (
        len(weight_of(model, f"{head}conv{convs}"))
        if convs
        else len(weight_of(model, "backbone.fpn_lateral2"))
    )
    settings: Settings = {
        "MODEL.ROI_BOX_HEAD.NUM_CONV": convs,
        "MODEL.ROI_BOX_HEAD.NUM_FC": linears,
        "MODEL.ROI_BOX_HEAD.FC_DIM": len(first),
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": isqrt(first.shape[1] // channels),
    }
    if convs:
        settings["MODEL.ROI_BOX_HEAD.CONV_DIM"] = channels
        settings["MODEL.ROI_BOX_HEAD.NORM"] = norm_of(model, f"{head}conv1")
    return settings


def _mask_settings(model: Mapping[str, Tensor], classes: int) -> Settings:
    head = f"{_HEADS}mask_head."
    if f"{head}predictor.weight" not in model:
        return {"MODEL.MASK_ON": False}
    predictor = weight_of(model, f"{head}predictor")
    return {
        "MODEL.MASK_ON": True,
        "MODEL.ROI_MASK_HEAD.NUM_CONV": count_numbers(model, rf"{re.escape(head)}mask_fcn(\d+)\."),
        "MODEL.ROI_MASK_HEAD.CONV_DIM": predictor.shape[1],
        "MODEL.ROI_MASK_HEAD.NORM": norm_of(model, f"{head}mask_fcn1"),
        "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": len(predictor) == 1 and classes > 1,
    }


def _keypoint_settings(model: Mapping[str, Tensor]) -> Settings:
    head = f"{_HEADS}keypoint_head."
    if f"{head}score_lowres.weight" not in model:
        return {"MODEL.KEYPOINT_ON": False}
    points = weight_of(model, f"{head}score_lowres")
    count = count_numbers(model, rf"{re.escape(head)}conv_fcn(\d+)\.")
    widths = tuple(len(weight_of(model, f"{head}conv_fcn{index}")) for index in range(1, count + 1))
    return {
        "MODEL.KEYPOINT_ON": True,
        "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": widths,
        "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": points.shape[1],
    }

"""Reading a model's architecture off the names and shapes of its tensors."""

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor

Settings = dict[str, Any]
"""Config keys and their values."""

_DEPTHS: dict[tuple[bool, tuple[int, ...]], int] = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
}
_HEADS = "roi_heads."


def infer_settings(model: Mapping[str, Tensor]) -> Settings:
    """Find the config keys that follow from the tensors of a two-stage detector or of a backbone.

    Args:
        model: detectron2's name to tensor; a backbone's names begin with ``stem`` and ``res2``.

    Returns:
        Only keys that are known; what leaves no trace in the tensors is not among them.

    Raises:
        ValueError: It is no ResNet, or not one of a known depth.
    """
    prefix = next((p for p in _PREFIXES if f"{p}stem.conv1.weight" in model), None)
    if prefix is None:
        raise ValueError(
            "The file has no stem.conv1.weight of a ResNet, and only models on a ResNet can be "
            f"converted; its tensors are {_examples(model)}."
        )
    settings = _resnet_settings(model, prefix)
    if "proposal_generator.rpn_head.objectness_logits.weight" not in model:
        return settings
    if prefix == "backbone.bottom_up.":
        settings |= _pyramid_settings(model)
    return settings | _proposal_settings(model) | _head_settings(model)


_PREFIXES = ("backbone.bottom_up.", "backbone.", "")


def norm_of(model: Mapping[str, Tensor], layer: str) -> str:
    """Tell the norm behind a layer, as a config names it; empty for none.

    Args:
        model: detectron2's name to tensor.
        layer: Such as ``backbone.bottom_up.stem.conv1``.
    """
    if f"{layer}.norm.weight" not in model:
        return ""
    if f"{layer}.norm.running_mean" not in model:
        return "GN"
    return "BN" if f"{layer}.norm.num_batches_tracked" in model else "FrozenBN"


def _resnet_settings(model: Mapping[str, Tensor], prefix: str) -> Settings:
    stem = model[f"{prefix}stem.conv1.weight"]
    bottleneck = f"{prefix}res2.0.conv3.weight" in model
    middle = model.get(f"{prefix}res2.0.conv2.weight")
    if middle is None:
        raise ValueError(
            "The file has a stem, but no res2.0.conv2.weight of a ResNet, and only models on a "
            f"ResNet can be converted; its tensors are {_examples(model)}."
        )
    groups = len(middle) // middle.shape[1]
    last = model[f"{prefix}res2.0.conv{3 if bottleneck else 2}.weight"]
    return {
        "MODEL.RESNETS.DEPTH": _depth(model, prefix, bottleneck),
        "MODEL.RESNETS.NORM": norm_of(model, f"{prefix}stem.conv1"),
        "MODEL.RESNETS.NUM_GROUPS": groups,
        "MODEL.RESNETS.WIDTH_PER_GROUP": len(middle) // groups if bottleneck else 64,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": len(stem),
        "MODEL.RESNETS.RES2_OUT_CHANNELS": len(last),
    }


def _depth(model: Mapping[str, Tensor], prefix: str, bottleneck: bool) -> int:
    counts = [_count(model, rf"{re.escape(prefix)}res{stage}\.(\d+)\.") for stage in (2, 3, 4, 5)]
    if counts[3] == 0:
        counts[3] = 3  # C4: the last stage is among the heads, or not there at all
    depth = _DEPTHS.get((bottleneck, tuple(counts)))
    if depth is None:
        raise ValueError(
            f"The file's ResNet has {counts} blocks in its stages, which is none of the depths "
            f"{', '.join(map(str, sorted(_DEPTHS.values())))} that can be converted."
        )
    return depth


def _pyramid_settings(model: Mapping[str, Tensor]) -> Settings:
    return {
        "MODEL.FPN.OUT_CHANNELS": len(model["backbone.fpn_lateral2.weight"]),
        "MODEL.FPN.NORM": norm_of(model, "backbone.fpn_lateral2"),
    }


def _proposal_settings(model: Mapping[str, Tensor]) -> Settings:
    head = "proposal_generator.rpn_head.conv"
    count = _count(model, rf"{re.escape(head)}\.conv(\d+)\.")
    names = [f"{head}.conv{index}" for index in range(count)] or [head]
    convs = [model[f"{name}.weight"] for name in names]
    same = all(conv.shape[0] == conv.shape[1] for conv in convs)
    return {"MODEL.RPN.CONV_DIMS": [-1 if same else len(conv) for conv in convs]}


def _head_settings(model: Mapping[str, Tensor]) -> Settings:
    """Describe the heads; a proposal network has none."""
    scores = model.get(f"{_HEADS}box_predictor.cls_score.weight")
    if scores is None:
        return {"MODEL.META_ARCHITECTURE": "ProposalNetwork"}
    classes = len(scores) - 1
    box_rows = len(model[f"{_HEADS}box_predictor.bbox_pred.weight"])
    return {
        "MODEL.ROI_HEADS.NUM_CLASSES": classes,
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": box_rows == 4 and classes > 1,
        **_box_head_settings(model),
        **_mask_settings(model, classes),
        **_keypoint_settings(model),
    }


def _box_head_settings(model: Mapping[str, Tensor]) -> Settings:
    head = f"{_HEADS}box_head."
    convs = _count(model, rf"{re.escape(head)}conv(\d+)\.")
    linears = _count(model, rf"{re.escape(head)}fc(\d+)\.")
    if not linears:
        return {}  # C4: res5 instead
    first = model[f"{head}fc1.weight"]
    channels = (
        len(model[f"{head}conv{convs}.weight"])
        if convs
        else len(model["backbone.fpn_lateral2.weight"])
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
    predictor = model.get(f"{head}predictor.weight")
    if predictor is None:
        return {"MODEL.MASK_ON": False}
    return {
        "MODEL.MASK_ON": True,
        "MODEL.ROI_MASK_HEAD.NUM_CONV": _count(model, rf"{re.escape(head)}mask_fcn(\d+)\."),
        "MODEL.ROI_MASK_HEAD.CONV_DIM": predictor.shape[1],
        "MODEL.ROI_MASK_HEAD.NORM": norm_of(model, f"{head}mask_fcn1"),
        "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": len(predictor) == 1 and classes > 1,
    }


def _keypoint_settings(model: Mapping[str, Tensor]) -> Settings:
    head = f"{_HEADS}keypoint_head."
    points = model.get(f"{head}score_lowres.weight")
    if points is None:
        return {"MODEL.KEYPOINT_ON": False}
    count = _count(model, rf"{re.escape(head)}conv_fcn(\d+)\.")
    widths = tuple(len(model[f"{head}conv_fcn{index}.weight"]) for index in range(1, count + 1))
    return {
        "MODEL.KEYPOINT_ON": True,
        "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": widths,
        "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": points.shape[1],
    }


def _count(model: Mapping[str, Tensor], pattern: str) -> int:
    """Count the different numbers that stand in the names."""
    return len({found[1] for name in model if (found := re.match(pattern, name))})


def _examples(model: Mapping[str, Tensor]) -> str:
    names = sorted(model)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

"""Detectron's models (Caffe2's names), completed to the names of whole models."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from d2seg.core.checkpoint.c2_model_loading import convert_c2_detectron_names
from d2seg.core.checkpoint.formats.cell_order import sizes_before_ratios
from d2seg.core.checkpoint.formats.renamed import Renamed

_EPS = 1e-5
_REORDERED = ("cls_score.", "bbox_pred.", "mask_head.predictor.")
_UNUSED = (
    (re.compile(r"(fc1000|pred|linear)\."), "it is the classifier of ImageNet"),
    (
        re.compile(r"(stem|res\d\.\d+)\.\w+\.bias$"),
        "the norm behind the convolution has the bias, Detectron uses none before it",
    ),
    (
        re.compile(r"roi_heads\.keypoint_head\.score\."),
        "it is the fixed kernel of bilinear interpolation",
    ),
)
_PLACES = {
    "fpn_": "backbone.",
    "box_head.": "roi_heads.",
    "mask_head.": "roi_heads.",
    "cls_score.": "roi_heads.box_predictor.",
    "bbox_pred.": "roi_heads.box_predictor.",
    "proposal_generator.": "",
    "roi_heads.": "",
}


def is_detector(weights: Mapping[str, Tensor]) -> bool:
    """Tell whether Caffe2's names are of a detector, not of a backbone alone."""
    return any(name.startswith(("rpn_cls_logits", "conv_rpn")) for name in weights)


def rename_detectron(weights: Mapping[str, Tensor]) -> Renamed:
    """Give detectron2's names to the tensors of a file of Detectron.

    Norms of Detectron only scale and shift; they get the statistics that change nothing.

    Args:
        weights: Caffe2's name to tensor, of a detector or of a backbone alone, whose names then
            begin with ``stem`` and ``res2``. Left as it is.

    Raises:
        ValueError: Two names become one.
    """
    converted, originals = convert_c2_detectron_names(weights)
    whole = is_detector(weights)
    pyramid = any(name.startswith("fpn_") for name in converted)
    model, origins, reordered, unknown, dropped = {}, {}, [], [], {}
    for name, tensor in converted.items():
        reason = next((why for pattern, why in _UNUSED if pattern.match(name)), None)
        if reason is not None:
            dropped[originals[name]] = reason
            continue
        place = _place(name, pyramid) if whole else _place_in_backbone(name)
        if place is None:
            unknown.append(originals[name])
            continue
        full = f"{place}{name}"
        model[full], origins[full] = tensor, originals[name]
        if name.startswith(_REORDERED):
            reordered.append(full)
    model |= _statistics(model, origins)
    renamed = Renamed(model, origins, tuple(reordered), dropped=dropped, unknown=tuple(unknown))
    return sizes_before_ratios(renamed) if whole else renamed


def _place(name: str, pyramid: bool) -> str | None:
    """Return what a name of a detector begins with in detectron2's model."""
    if name.startswith("res5.") and not pyramid:
        return "roi_heads."
    if name.startswith(("stem.", "res")):
        return "backbone.bottom_up." if pyramid else "backbone."
    return next((place for start, place in _PLACES.items() if name.startswith(start)), None)


def _place_in_backbone(name: str) -> str | None:
    return "" if name.startswith(("stem.", "res")) else None


def _statistics(model: Mapping[str, Tensor], origins: Mapping[str, str]) -> dict[str, Tensor]:
    """Make the statistics of the norms that have none, group norms apart."""
    made = {}
    for name, tensor in model.items():
        layer = name.removesuffix(".weight")
        is_batch_norm = name.endswith(".norm.weight") and "gn" not in origins[name].split("_")
        if is_batch_norm and f"{layer}.running_var" not in model:
            made[f"{layer}.running_mean"] = torch.zeros_like(tensor)
            made[f"{layer}.running_var"] = torch.ones_like(tensor) - _EPS
    return made

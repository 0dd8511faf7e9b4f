"""maskrcnn-benchmark's Faster, Mask and Keypoint R-CNN, with a feature pyramid or without (C4)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from d2seg.core.checkpoint.formats.background import move_background
from d2seg.core.checkpoint.formats.cell_order import sizes_before_ratios
from d2seg.core.checkpoint.formats.renamed import Renamed, rename_by_stem, residual_stems

_BODY = "backbone.body."
_STEM = f"{_BODY}stem.conv1.weight"
_HEAD = "feature_extractor.head."
_MOST_LAYERS = 16
_ANCHORS = "its anchors follow from the config"
_SHARED = "it is that of the box head, which the mask head shares"


def matches_maskrcnn_benchmark(weights: Mapping[str, Tensor]) -> bool:
    """Tell whether names are those of maskrcnn-benchmark, ``module.`` taken off."""
    return _STEM in weights


def rename_maskrcnn_benchmark(weights: Mapping[str, Tensor]) -> Renamed:
    """Give detectron2's names to the tensors of a detector of maskrcnn-benchmark.

    Raises:
        ValueError: Boxes and masks have a ``res5`` of their own each, which detectron2 has not.
    """
    dropped = {name: _ANCHORS for name in weights if "anchor_generator.cell_anchors" in name}
    dropped |= {name: _SHARED for name in weights if name.startswith(f"roi_heads.mask.{_HEAD}")}
    _require_shared(weights)
    has_pyramid = any(name.startswith("backbone.fpn.") for name in weights)
    renamed = rename_by_stem(weights, _layer_names(has_pyramid), dropped)
    return sizes_before_ratios(move_background(renamed))


def _layer_names(has_pyramid: bool) -> dict[str, str]:
    resnet = "backbone.bottom_up." if has_pyramid else "backbone."
    stages = {number: f"res{number + 1}" for number in (1, 2, 3, 4)}
    names = {
        f"{_BODY}stem.conv1": f"{resnet}stem.conv1",
        f"{_BODY}stem.bn1": f"{resnet}stem.conv1.norm",
        "rpn.head.conv": "proposal_generator.rpn_head.conv",
        "rpn.head.cls_logits": "proposal_generator.rpn_head.objectness_logits",
        "rpn.head.bbox_pred": "proposal_generator.rpn_head.anchor_deltas",
        "roi_heads.box.predictor.cls_score": "roi_heads.box_predictor.cls_score",
        "roi_heads.box.predictor.bbox_pred": "roi_heads.box_predictor.bbox_pred",
        "roi_heads.box.feature_extractor.fc6": "roi_heads.box_head.fc1",
        "roi_heads.box.feature_extractor.fc7": "roi_heads.box_head.fc2",
        "roi_heads.mask.predictor.conv5_mask": "roi_heads.mask_head.deconv",
        "roi_heads.mask.predictor.mask_fcn_logits": "roi_heads.mask_head.predictor",
        "roi_heads.keypoint.predictor.kps_score_lowres": "roi_heads.keypoint_head.score_lowres",
    }
    names |= residual_stems(_BODY, resnet, stages)
    names |= residual_stems(f"roi_heads.box.{_HEAD}", "roi_heads.", {4: "res5"})
    for level in (1, 2, 3, 4):
        for theirs, ours in (("inner", "lateral"), ("layer", "output")):
            their_layer = f"backbone.fpn.fpn_{theirs}{level}"
            names |= _with_norm(their_layer, f"backbone.fpn_{ours}{level + 1}")
    for index in range(1, _MOST_LAYERS):
        mask = f"roi_heads.mask.feature_extractor.mask_fcn{index}"
        names |= _with_norm(mask, f"roi_heads.mask_head.mask_fcn{index}")
        points = f"roi_heads.keypoint.feature_extractor.conv_fcn{index}"
        names[points] = f"roi_heads.keypoint_head.conv_fcn{index}"
        # A sequence of convolution, group norm and ReLU.
        convs = f"roi_heads.box.feature_extractor.xconvs.{3 * (index - 1)}"
        names[convs] = f"roi_heads.box_head.conv{index}"
        norms = f"roi_heads.box.feature_extractor.xconvs.{3 * (index - 1) + 1}"
        names[norms] = f"roi_heads.box_head.conv{index}.norm"
    return names


def _with_norm(theirs: str, ours: str) -> dict[str, str]:
    """Name a layer, and the same layer as the first of a sequence with a norm."""
    return {theirs: ours, f"{theirs}.0": ours, f"{theirs}.1": f"{ours}.norm"}


def _require_shared(weights: Mapping[str, Tensor]) -> None:
    for name, tensor in weights.items():
        if name.startswith(f"roi_heads.mask.{_HEAD}"):
            twin = weights.get(name.replace("roi_heads.mask.", "roi_heads.box."))
            if twin is None or not torch.equal(twin, tensor):
                raise ValueError(
                    f"'{name}' is not that of the box head, but detectron2's C4 models share res5 "
                    "between boxes and masks; such a model cannot be converted."
                )

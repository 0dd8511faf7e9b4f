"""torchvision's Faster, Mask and Keypoint R-CNN on a ResNet with a feature pyramid.

Both generations are covered: ``..._resnet50_fpn``, and ``..._resnet50_fpn_v2`` with its norms and
convolutions in the heads. The names of releases before 0.13 are brought to those of today.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from d2seg.core.checkpoint.formats.background import move_background, restore_background
from d2seg.core.checkpoint.formats.renamed import (
    Renamed,
    rename_back,
    rename_by_stem,
    residual_stems,
)

_BODY, _RESNET = "backbone.body.", "backbone.bottom_up."
_MOST_LAYERS = 16

_EARLIER_NAMES = (
    (r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(\w+)$", r"\1.0.\2"),
    (r"^rpn\.head\.conv\.(\w+)$", r"rpn.head.conv.0.0.\1"),
)
_EARLIER_MASKS = re.compile(r"^roi_heads\.mask_head\.mask_fcn(\d+)\.(\w+)$")


def matches_torchvision_detection(weights: Mapping[str, Tensor]) -> bool:
    """Tell whether names are those of a two-stage detector of torchvision."""
    has_body = any(name.startswith(_BODY) for name in weights)
    return has_body and f"{_BODY}stem.conv1.weight" not in weights and _is_two_stage(weights)


def rename_torchvision_detection(weights: Mapping[str, Tensor]) -> Renamed:
    """Give detectron2's names to the tensors of a detector of torchvision."""
    current = {_current_name(name): tensor for name, tensor in weights.items()}
    renamed = rename_by_stem(current, layer_names(current), {})
    earlier = {_current_name(name): name for name in weights}
    origins = {ours: earlier[theirs] for ours, theirs in renamed.origins.items()}
    unknown = tuple(earlier[name] for name in renamed.unknown)
    return move_background(
        Renamed(renamed.model, origins, dropped=renamed.dropped, unknown=unknown)
    )


def to_torchvision_detection(
    model: Mapping[str, Tensor], background: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Give torchvision's names to the tensors of detectron2's model.

    Args:
        model: detectron2's name to tensor; left as it is.
        background: Rows of the background, see `restore_background`.

    Returns:
        torchvision's name to tensor, and detectron2's name to torchvision's, for those that
        torchvision has a place for.
    """
    return rename_back(restore_background(model, background), layer_names(model))


def layer_names(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """List the layers: torchvision's name to detectron2's.

    Args:
        weights: Names of either; they tell how many convolutions the heads have.
    """
    stages = {number: f"res{number + 1}" for number in (1, 2, 3, 4)}
    stems = {f"{_BODY}conv1": f"{_RESNET}stem.conv1", f"{_BODY}bn1": f"{_RESNET}stem.conv1.norm"}
    stems |= residual_stems(_BODY, _RESNET, stages)
    for level in range(4):
        for theirs, ours in (("inner", "lateral"), ("layer", "output")):
            block = f"backbone.fpn.{theirs}_blocks.{level}"
            stems[f"{block}.0"] = f"backbone.fpn_{ours}{level + 2}"
            stems[f"{block}.1"] = f"backbone.fpn_{ours}{level + 2}.norm"
    return stems | _proposal_names(weights) | _box_names(weights) | _mask_and_point_names()


def _proposal_names(weights: Mapping[str, Tensor]) -> dict[str, str]:
    head = "proposal_generator.rpn_head"
    several = {"rpn.head.conv.1.0.weight", f"{head}.conv.conv1.weight"} & weights.keys()
    convs = {
        f"rpn.head.conv.{index}.0": f"{head}.conv.conv{index}" if several else f"{head}.conv"
        for index in range(_MOST_LAYERS if several else 1)
    }
    return convs | {
        "rpn.head.cls_logits": f"{head}.objectness_logits",
        "rpn.head.bbox_pred": f"{head}.anchor_deltas",
    }


def _box_names(weights: Mapping[str, Tensor]) -> dict[str, str]:
    box, predictor = "roi_heads.box_head", "roi_heads.box_predictor"
    names = {f"{predictor}.{layer}": f"{predictor}.{layer}" for layer in ("cls_score", "bbox_pred")}
    convs = 0
    while {f"{box}.{convs}.0.weight", f"{box}.conv{convs + 1}.weight"} & weights.keys():
        names[f"{box}.{convs}.0"] = f"{box}.conv{convs + 1}"
        names[f"{box}.{convs}.1"] = f"{box}.conv{convs + 1}.norm"
        convs += 1
    if not convs:
        return names | {f"{box}.fc6": f"{box}.fc1", f"{box}.fc7": f"{box}.fc2"}
    # A sequence: the convolutions, one that flattens, and linear layers with a ReLU after each.
    return names | {f"{box}.{convs + 2 * fc - 1}": f"{box}.fc{fc}" for fc in range(1, 5)}


def _mask_and_point_names() -> dict[str, str]:
    mask, points = "roi_heads.mask_head", "roi_heads.keypoint_head"
    names = {
        "roi_heads.mask_predictor.conv5_mask": f"{mask}.deconv",
        "roi_heads.mask_predictor.mask_fcn_logits": f"{mask}.predictor",
        "roi_heads.keypoint_predictor.kps_score_lowres": f"{points}.score_lowres",
    }
    for index in range(_MOST_LAYERS):
        names[f"{mask}.{index}.0"] = f"{mask}.mask_fcn{index + 1}"
        names[f"{mask}.{index}.1"] = f"{mask}.mask_fcn{index + 1}.norm"
        names[f"{points}.{2 * index}"] = f"{points}.conv_fcn{index + 1}"
    return names


def _current_name(name: str) -> str:
    for pattern, replacement in _EARLIER_NAMES:
        name = re.sub(pattern, replacement, name)
    mask = _EARLIER_MASKS.match(name)
    return f"roi_heads.mask_head.{int(mask[1]) - 1}.0.{mask[2]}" if mask else name


def _is_two_stage(weights: Mapping[str, Tensor]) -> bool:
    return any(name.startswith("rpn.head.") for name in weights)

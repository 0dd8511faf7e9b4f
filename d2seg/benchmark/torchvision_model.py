"""torchvision's Mask R-CNN with the weights and settings of a model of ours."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from d2seg.config import CONVENTIONS
from d2seg.convert import build_torchvision_model
from d2seg.convert.conventions import TORCHVISION
from d2seg.convert.torchvision_limits import check_expressible
from d2seg.core.checkpoint.formats.torchvision_detection import to_torchvision_detection
from d2seg.core.ops.anchors import cell_anchors
from d2seg.framework import CfgNode

_STEM = "backbone.body.conv1.weight"


def why_not_torchvision(cfg: CfgNode) -> str:
    """Say which setting torchvision's Mask R-CNN cannot have; empty where it can have all.

    What moves boxes by a pixel, and takes the same work, is no reason.
    """
    if not cfg.MODEL.MASK_ON:
        return "MODEL.MASK_ON is False, and its masks are measured"
    try:
        check_expressible(_nearest(cfg))
    except ValueError as error:
        return str(error)
    return ""


def torchvision_model(cfg: CfgNode, weights: Mapping[str, Tensor]) -> nn.Module:
    """Build torchvision's Mask R-CNN as a config says, with these weights, for evaluation.

    Args:
        cfg: One for which :func:`why_not_torchvision` has nothing to say.
        weights: The state dict of its model. Not modified.
    """
    model: Any = build_torchvision_model(_nearest(cfg))
    generator = model.rpn.anchor_generator
    generator.cell_anchors = [  # torchvision rounds its own to whole pixels
        cell_anchors(list(sizes), list(ratios))
        for sizes, ratios in zip(generator.sizes, generator.aspect_ratios, strict=True)
    ]
    renamed, _ = to_torchvision_detection(weights, {})
    if cfg.INPUT.FORMAT == "BGR":
        renamed[_STEM] = renamed[_STEM].flip(1)
    model.load_state_dict(renamed)
    evaluated: nn.Module = model.eval()
    return evaluated


def _nearest(cfg: CfgNode) -> CfgNode:
    """Return the config with torchvision's conventions, and its order of channels."""
    own = {f"{path}.{key}" for path, keys in CONVENTIONS.items() for key in keys}
    nearest = cfg.clone()
    nearest.defrost()
    for key, value in TORCHVISION.settings.items():
        if key in own:
            nearest.merge_from_list([key, value])
    if cfg.INPUT.FORMAT == "BGR":
        nearest.INPUT.FORMAT = "RGB"
        nearest.MODEL.PIXEL_MEAN = list(reversed(cfg.MODEL.PIXEL_MEAN))
        nearest.MODEL.PIXEL_STD = list(reversed(cfg.MODEL.PIXEL_STD))
    return nearest

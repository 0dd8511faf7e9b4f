"""Which models can become a deployable one, and why another one cannot."""

from typing import Any

SUPPORTED = "Only Mask R-CNN with a ResNet and a feature pyramid (FPN) can be exported"


def check_supported(model: Any) -> None:
    """Refuse a model that is not a Mask R-CNN with a ResNet-FPN.

    The classes of the parts must be exactly detectron2's, by name, because a subclass may compute
    something else.

    Args:
        model: A model of either framework.

    Raises:
        ValueError: Names the first part that is of another kind.
    """
    _check_class("the model", model, "GeneralizedRCNN")
    fpn, rpn, heads = model.backbone, model.proposal_generator, model.roi_heads
    _check_class("the backbone", fpn, "FPN")
    _check_class("the bottom-up backbone", fpn.bottom_up, "ResNet")
    _check_class("the stem", fpn.bottom_up.stem, "BasicStem")
    for name in fpn.bottom_up.stage_names:
        for block in getattr(fpn.bottom_up, name):
            _check_class(f"a block of {name}", block, "BasicBlock", "BottleneckBlock")
    if fpn.top_block is not None:
        _check_class("the top block of the pyramid", fpn.top_block, "LastLevelMaxPool")
    if fpn.padding_constraints.get("square_size", 0) > 0:
        raise ValueError(f"{SUPPORTED}, but this one pads images to squares.")
    _check_class("the proposal generator", rpn, "RPN")
    _check_class("the head of the RPN", rpn.rpn_head, "StandardRPNHead")
    _check_class("the anchor generator", rpn.anchor_generator, "DefaultAnchorGenerator")
    _check_heads(heads)


def _check_heads(heads: Any) -> None:
    _check_class("the ROI heads", heads, "StandardROIHeads")
    _check_class("the box head", heads.box_head, "FastRCNNConvFCHead")
    _check_class("the box predictor", heads.box_predictor, "FastRCNNOutputLayers")
    if getattr(heads, "keypoint_on", False):
        raise ValueError(f"{SUPPORTED}, but this one has a keypoint head (MODEL.KEYPOINT_ON).")
    if not heads.mask_on:
        raise ValueError(f"{SUPPORTED}, but this one has no mask head; set MODEL.MASK_ON to True.")
    _check_class("the mask head", heads.mask_head, "MaskRCNNConvUpsampleHead")


def _check_class(what: str, part: Any, *names: str) -> None:
    found = type(part).__name__
    if found not in names:
        raise ValueError(f"{SUPPORTED}, but {what} is a {found}, not a {' or a '.join(names)}.")

"""Which models can become a deployable one, and why another one cannot."""

from typing import Any

from torch import nn

SUPPORTED = (
    "Only Faster, Mask, Keypoint and Cascade R-CNN and RetinaNet on a ResNet, with or without a "
    "feature pyramid (FPN), can be exported"
)


def check_supported(model: Any) -> None:
    """Refuse a model with a part that has no deployable form.

    The classes of the parts must be exactly detectron2's, by name, because a subclass may compute
    something else.

    Args:
        model: A model of either framework.

    Raises:
        ValueError: Names the first part that is of another kind.
    """
    _check_class("the model", model, "GeneralizedRCNN", "RetinaNet")
    _check_backbone(model.backbone)
    if type(model).__name__ == "RetinaNet":
        _check_class("the head", model.head, "RetinaNetHead")
        _check_class("the anchor generator", model.anchor_generator, "DefaultAnchorGenerator")
        return
    rpn = model.proposal_generator
    _check_class("the proposal generator", rpn, "RPN")
    _check_class("the head of the RPN", rpn.rpn_head, "StandardRPNHead")
    _check_class("the anchor generator", rpn.anchor_generator, "DefaultAnchorGenerator")
    _check_heads(model.roi_heads)


def _check_backbone(backbone: Any) -> None:
    _check_class("the backbone", backbone, "FPN", "ResNet")
    resnet = backbone
    if type(backbone).__name__ == "FPN":
        resnet = backbone.bottom_up
        _check_class("the bottom-up backbone", resnet, "ResNet")
        if backbone.top_block is not None:
            top = backbone.top_block
            _check_class("the top block of the pyramid", top, "LastLevelMaxPool", "LastLevelP6P7")
        if backbone.padding_constraints.get("square_size", 0) > 0:
            raise ValueError(f"{SUPPORTED}, but this one pads images to squares.")
    _check_class("the stem", resnet.stem, "BasicStem")
    for name in resnet.stage_names:
        _check_blocks(name, getattr(resnet, name))


def _check_blocks(name: str, blocks: Any) -> None:
    for block in blocks:
        _check_class(f"a block of {name}", block, "BasicBlock", "BottleneckBlock")


def _check_heads(heads: Any) -> None:
    _check_class("the ROI heads", heads, "StandardROIHeads", "CascadeROIHeads", "Res5ROIHeads")
    if type(heads).__name__ == "Res5ROIHeads":
        _check_blocks("res5", heads.res5)
    else:
        _check_each("the box head", heads.box_head, "FastRCNNConvFCHead")
    _check_each("the box predictor", heads.box_predictor, "FastRCNNOutputLayers")
    if heads.mask_on:
        _check_class("the mask head", heads.mask_head, "MaskRCNNConvUpsampleHead")
    if getattr(heads, "keypoint_on", False):
        _check_class("the keypoint head", heads.keypoint_head, "KRCNNConvDeconvUpsampleHead")


def _check_each(what: str, part: Any, name: str) -> None:
    """Check a part, or all of them in a cascade."""
    for one in part if isinstance(part, nn.ModuleList) else [part]:
        _check_class(what, one, name)


def _check_class(what: str, part: Any, *names: str) -> None:
    found = type(part).__name__
    if found not in names:
        raise ValueError(f"{SUPPORTED}, but {what} is a {found}, not a {' or a '.join(names)}.")

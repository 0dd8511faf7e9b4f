"""Which models torchvision can express, and which setting keeps another one from it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from d2seg.framework import CfgNode


class _Need(NamedTuple):
    """A setting that torchvision fixes.

    Attributes:
        key: The config key.
        values: What it must be one of.
        applies: Tells whether the key is read at all.
    """

    key: str
    values: tuple[Any, ...]
    applies: Callable[[CfgNode], bool] = lambda cfg: True


def _has_masks(cfg: CfgNode) -> bool:
    return bool(cfg.MODEL.MASK_ON)


def _has_keypoints(cfg: CfgNode) -> bool:
    return bool(cfg.MODEL.KEYPOINT_ON)


def _has_bottlenecks(cfg: CfgNode) -> bool:
    return bool(cfg.MODEL.RESNETS.DEPTH >= 50)


_NEEDS = (
    _Need("MODEL.META_ARCHITECTURE", ("GeneralizedRCNN",)),
    _Need("MODEL.BACKBONE.NAME", ("build_resnet_fpn_backbone",)),
    _Need("MODEL.PROPOSAL_GENERATOR.NAME", ("RPN",)),
    _Need("MODEL.RPN.HEAD_NAME", ("StandardRPNHead",)),
    _Need("MODEL.ANCHOR_GENERATOR.NAME", ("DefaultAnchorGenerator",)),
    _Need("MODEL.ROI_HEADS.NAME", ("StandardROIHeads",)),
    _Need("MODEL.ROI_BOX_HEAD.NAME", ("FastRCNNConvFCHead",)),
    _Need("MODEL.ROI_MASK_HEAD.NAME", ("MaskRCNNConvUpsampleHead",), _has_masks),
    _Need("MODEL.ROI_KEYPOINT_HEAD.NAME", ("KRCNNConvDeconvUpsampleHead",), _has_keypoints),
    _Need("INPUT.FORMAT", ("RGB",)),
    _Need("INPUT.RESIZE_TEST", ("interpolate",)),
    _Need("MODEL.RESNETS.NORM", ("FrozenBN", "BN", "SyncBN", "nnSyncBN", "naiveSyncBN")),
    _Need("MODEL.RESNETS.STRIDE_IN_1X1", (False,), _has_bottlenecks),
    _Need("MODEL.RESNETS.RES5_DILATION", (1,)),
    _Need("MODEL.RESNETS.STEM_OUT_CHANNELS", (64,)),
    _Need("MODEL.RESNETS.RES2_OUT_CHANNELS", (256,), _has_bottlenecks),
    _Need("MODEL.RESNETS.DEFORM_ON_PER_STAGE", ([False] * 4,)),
    _Need("MODEL.RESNETS.OUT_FEATURES", (["res2", "res3", "res4", "res5"],)),
    _Need("MODEL.FPN.IN_FEATURES", (["res2", "res3", "res4", "res5"],)),
    _Need("MODEL.FPN.NORM", ("", "BN")),
    _Need("MODEL.FPN.FUSE_TYPE", ("sum",)),
    _Need("MODEL.RPN.IN_FEATURES", (["p2", "p3", "p4", "p5", "p6"],)),
    _Need("MODEL.ROI_HEADS.IN_FEATURES", (["p2", "p3", "p4", "p5"],)),
    _Need("MODEL.RPN.BBOX_REG_WEIGHTS", ([1.0] * 4,)),
    _Need("MODEL.RPN.RANK_BY", ("probability",)),
    _Need("MODEL.ANCHOR_GENERATOR.OFFSET", (0.0,)),
    _Need("MODEL.ANCHOR_GENERATOR.WHOLE_PIXELS", (True,)),
    _Need("MODEL.ANCHOR_GENERATOR.MEASURED_STRIDES", (True,)),
    _Need("MODEL.PROPOSAL_GENERATOR.MIN_SIZE", (0,)),
    _Need("MODEL.PROPOSAL_GENERATOR.MIN_SIDE", (1e-3,)),
    _Need("MODEL.ROI_HEADS.MIN_SIDE_TEST", (1e-2,)),
    _Need("MODEL.ROI_HEADS.LEVEL_MARGIN", (1e-6,)),
    _Need("MODEL.ROI_BOX_HEAD.POOLER_TYPE", ("ROIAlign",)),
    _Need("MODEL.ROI_MASK_HEAD.POOLER_TYPE", ("ROIAlign",), _has_masks),
    _Need("MODEL.ROI_KEYPOINT_HEAD.POOLER_TYPE", ("ROIAlign",), _has_keypoints),
    _Need("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", (False,)),
    _Need("MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", (False,)),
    _Need("MODEL.ROI_BOX_HEAD.NORM", ("", "BN")),
    _Need("MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK", (False,), _has_masks),
    _Need("MODEL.ROI_MASK_HEAD.NORM", ("", "BN"), _has_masks),
    _Need("MODEL.ROI_MASK_HEAD.WHOLE_PIXELS", (True,), _has_masks),
    _Need("MODEL.ROI_KEYPOINT_HEAD.SCORE", ("logit",), _has_keypoints),
)


def check_expressible(cfg: CfgNode) -> None:
    """Refuse a model that torchvision's detectors cannot be made to compute.

    Args:
        cfg: The model's config, with the keys of the plugin.

    Raises:
        ValueError: Names the first setting that torchvision does not have, and what it has.
    """
    for need in _NEEDS:
        value = _get(cfg, need.key)
        plain = list(value) if isinstance(value, tuple) else value
        if need.applies(cfg) and plain not in need.values:
            wanted = " or ".join(repr(one) for one in need.values)
            raise ValueError(
                f"torchvision cannot express {need.key} {value!r}: its detectors compute as with "
                f"{wanted}. A model trained with that setting can be exported."
            )
    if cfg.MODEL.MASK_ON and cfg.MODEL.KEYPOINT_ON:
        raise ValueError(
            "torchvision cannot express MODEL.MASK_ON and MODEL.KEYPOINT_ON together: its "
            "detectors find masks or keypoints. Set one of them to False to leave it out."
        )
    _check_box_head(cfg.MODEL.ROI_BOX_HEAD)
    widths, same = cfg.MODEL.RPN.CONV_DIMS, (-1, cfg.MODEL.FPN.OUT_CHANNELS)
    if any(width not in same for width in widths):
        raise ValueError(
            f"torchvision cannot express MODEL.RPN.CONV_DIMS {list(widths)!r}: its region proposal "
            f"network is as wide as the pyramid, {same[1]} channels."
        )
    if cfg.INPUT.MIN_SIZE_TEST <= 0:
        raise ValueError(
            f"torchvision cannot express INPUT.MIN_SIZE_TEST {cfg.INPUT.MIN_SIZE_TEST}, images "
            "that are not resized: its detectors resize all of them."
        )


def _check_box_head(head: CfgNode) -> None:
    if head.NUM_CONV == 0 and head.NUM_FC != 2:
        raise ValueError(
            f"torchvision cannot express MODEL.ROI_BOX_HEAD.NUM_FC {head.NUM_FC} without "
            "convolutions: its box head has 2 linear layers then."
        )


def _get(cfg: CfgNode, key: str) -> Any:
    for name in key.split("."):
        cfg = cfg[name]
    return cfg

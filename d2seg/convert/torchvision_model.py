"""Building torchvision's detector for a config that it can express."""

from functools import partial
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import (
    FastRCNNConvFCHead,
    FastRCNNPredictor,
    TwoMLPHead,
)
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from d2seg.convert.torchvision_limits import check_expressible
from d2seg.framework import CfgNode

_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
_LEVELS = ["0", "1", "2", "3"]


def build_torchvision_model(cfg: CfgNode) -> nn.Module:
    """Build torchvision's model with the architecture and the settings of a config.

    Args:
        cfg: The model's config; see `check_expressible`.

    Returns:
        A ``FasterRCNN``, ``MaskRCNN`` or ``KeypointRCNN`` with random weights, in training mode.

    Raises:
        ValueError: torchvision has no such model.
    """
    check_expressible(cfg)
    arguments = {**_image_arguments(cfg), **_proposal_arguments(cfg), **_box_arguments(cfg)}
    if cfg.MODEL.MASK_ON:
        return MaskRCNN(_backbone(cfg), **arguments, **_mask_arguments(cfg))
    if cfg.MODEL.KEYPOINT_ON:
        return KeypointRCNN(_backbone(cfg), **arguments, **_keypoint_arguments(cfg))
    return FasterRCNN(_backbone(cfg), **arguments)


def settings_of(cfg: CfgNode) -> dict[str, Any]:
    """Return the arguments of torchvision's builders that a config sets, such as ``min_size``."""
    arguments = {**_image_arguments(cfg), **_proposal_arguments(cfg), **_box_arguments(cfg)}
    return {name: value for name, value in arguments.items() if not isinstance(value, nn.Module)}


def _backbone(cfg: CfgNode) -> nn.Module:
    keys, pyramid = cfg.MODEL.RESNETS, cfg.MODEL.FPN
    frozen = keys.NORM == "FrozenBN"
    body = ResNet(
        Bottleneck if keys.DEPTH >= 50 else BasicBlock,
        list(_BLOCKS[keys.DEPTH]),
        groups=keys.NUM_GROUPS,
        width_per_group=keys.WIDTH_PER_GROUP,
        norm_layer=partial(FrozenBatchNorm2d if frozen else nn.BatchNorm2d, eps=keys.NORM_EPS),
    )
    channels = [body.inplanes // 8 * 2**stage for stage in range(4)]
    return BackboneWithFPN(
        body,
        {f"layer{number}": str(number - 1) for number in (1, 2, 3, 4)},
        channels,
        pyramid.OUT_CHANNELS,
        norm_layer=nn.BatchNorm2d if pyramid.NORM else None,
    )


def _image_arguments(cfg: CfgNode) -> dict[str, Any]:
    return {
        "min_size": cfg.INPUT.MIN_SIZE_TEST,
        "max_size": cfg.INPUT.MAX_SIZE_TEST,
        "image_mean": [value / 255 for value in cfg.MODEL.PIXEL_MEAN],
        "image_std": [value / 255 for value in cfg.MODEL.PIXEL_STD],
    }


def _proposal_arguments(cfg: CfgNode) -> dict[str, Any]:
    rpn, anchors = cfg.MODEL.RPN, cfg.MODEL.ANCHOR_GENERATOR
    levels = len(rpn.IN_FEATURES)
    sizes, ratios = (_per_level(one, levels) for one in (anchors.SIZES, anchors.ASPECT_RATIOS))
    generator = AnchorGenerator(sizes, ratios)
    return {
        "rpn_anchor_generator": generator,
        "rpn_head": RPNHead(
            cfg.MODEL.FPN.OUT_CHANNELS,
            generator.num_anchors_per_location()[0],
            conv_depth=len(rpn.CONV_DIMS),
        ),
        "rpn_pre_nms_top_n_train": rpn.PRE_NMS_TOPK_TRAIN,
        "rpn_pre_nms_top_n_test": rpn.PRE_NMS_TOPK_TEST,
        "rpn_post_nms_top_n_train": rpn.POST_NMS_TOPK_TRAIN,
        "rpn_post_nms_top_n_test": rpn.POST_NMS_TOPK_TEST,
        "rpn_nms_thresh": rpn.NMS_THRESH,
    }


def _box_arguments(cfg: CfgNode) -> dict[str, Any]:
    heads, head = cfg.MODEL.ROI_HEADS, cfg.MODEL.ROI_BOX_HEAD
    channels, side = cfg.MODEL.FPN.OUT_CHANNELS, head.POOLER_RESOLUTION
    layers: nn.Module = TwoMLPHead(channels * side**2, head.FC_DIM)
    if head.NUM_CONV:
        layers = FastRCNNConvFCHead(
            (channels, side, side),
            [head.CONV_DIM] * head.NUM_CONV,
            [head.FC_DIM] * head.NUM_FC,
            norm_layer=nn.BatchNorm2d if head.NORM else None,
        )
    return {
        "box_roi_pool": _pool(head),
        "box_head": layers,
        "box_predictor": FastRCNNPredictor(head.FC_DIM, heads.NUM_CLASSES + 1),
        "box_score_thresh": heads.SCORE_THRESH_TEST,
        "box_nms_thresh": heads.NMS_THRESH_TEST,
        "box_detections_per_img": cfg.TEST.DETECTIONS_PER_IMAGE,
        "bbox_reg_weights": tuple(head.BBOX_REG_WEIGHTS),
    }


def _mask_arguments(cfg: CfgNode) -> dict[str, Any]:
    head, norm = cfg.MODEL.ROI_MASK_HEAD, nn.BatchNorm2d if cfg.MODEL.ROI_MASK_HEAD.NORM else None
    widths, classes = [head.CONV_DIM] * head.NUM_CONV, cfg.MODEL.ROI_HEADS.NUM_CLASSES + 1
    return {
        "mask_roi_pool": _pool(head),
        "mask_head": MaskRCNNHeads(cfg.MODEL.FPN.OUT_CHANNELS, widths, 1, norm_layer=norm),
        "mask_predictor": MaskRCNNPredictor(head.CONV_DIM, head.CONV_DIM, classes),
    }


def _keypoint_arguments(cfg: CfgNode) -> dict[str, Any]:
    head = cfg.MODEL.ROI_KEYPOINT_HEAD
    widths = list(head.CONV_DIMS)
    return {
        "keypoint_roi_pool": _pool(head),
        "keypoint_head": KeypointRCNNHeads(cfg.MODEL.FPN.OUT_CHANNELS, widths),
        "keypoint_predictor": KeypointRCNNPredictor(widths[-1], head.NUM_KEYPOINTS),
    }


def _pool(head: CfgNode) -> MultiScaleRoIAlign:
    return MultiScaleRoIAlign(_LEVELS, head.POOLER_RESOLUTION, head.POOLER_SAMPLING_RATIO)


def _per_level(values: Any, levels: int) -> tuple[tuple[float, ...], ...]:
    lists = list(values) * levels if len(values) == 1 else list(values)
    return tuple(tuple(one) for one in lists)


def meta_state(cfg: CfgNode) -> dict[str, torch.Tensor]:
    """Return the names and shapes of torchvision's model for a config, without memory."""
    with torch.device("meta"):
        state: dict[str, torch.Tensor] = build_torchvision_model(cfg).state_dict()
    return state

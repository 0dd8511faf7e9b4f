"""torchvision's Mask R-CNN with the weights and settings of a model of ours."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from d2seg.core.ops.anchors import cell_anchors
from d2seg.framework import CfgNode

_NEEDED: dict[str, Any] = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.RESNETS.NUM_GROUPS": 1,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 64,
    "MODEL.RESNETS.NORM": "FrozenBN",
    "MODEL.FPN.OUT_CHANNELS": 256,
    "MODEL.FPN.NORM": "",
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.MASK_ON": True,
    "MODEL.KEYPOINT_ON": False,
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_CONV": 0,
    "MODEL.ROI_BOX_HEAD.NUM_FC": 2,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 1024,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlign",
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": False,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 4,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 256,
    "MODEL.ROI_MASK_HEAD.NORM": "",
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "ROIAlign",
    "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": False,
}
"""What torchvision's Mask R-CNN cannot be told to do otherwise."""

_NAMES = (
    (r"^backbone\.bottom_up\.stem\.conv1\.norm", "backbone.body.bn1"),
    (r"^backbone\.bottom_up\.stem", "backbone.body"),
    (r"^backbone\.bottom_up\.res(\d)", lambda m: f"backbone.body.layer{int(m[1]) - 1}"),
    (r"\.shortcut\.norm", ".downsample.1"),
    (r"\.shortcut", ".downsample.0"),
    (r"\.conv(\d)\.norm", r".bn\1"),
    (r"^backbone\.fpn_lateral(\d)", lambda m: f"backbone.fpn.inner_blocks.{int(m[1]) - 2}.0"),
    (r"^backbone\.fpn_output(\d)", lambda m: f"backbone.fpn.layer_blocks.{int(m[1]) - 2}.0"),
    (r"^proposal_generator\.rpn_head\.conv", "rpn.head.conv.0.0"),
    (r"^proposal_generator\.rpn_head\.objectness_logits", "rpn.head.cls_logits"),
    (r"^proposal_generator\.rpn_head\.anchor_deltas", "rpn.head.bbox_pred"),
    (r"box_head\.fc1", "box_head.fc6"),
    (r"box_head\.fc2", "box_head.fc7"),
    (r"mask_head\.mask_fcn(\d)", lambda m: f"mask_head.{int(m[1]) - 1}.0"),
    (r"mask_head\.deconv", "mask_predictor.conv5_mask"),
    (r"mask_head\.predictor", "mask_predictor.mask_fcn_logits"),
)


def why_not_torchvision(cfg: CfgNode) -> str:
    """Say which setting torchvision's Mask R-CNN cannot have; empty where it can have all."""
    for key, needed in _NEEDED.items():
        value: Any = cfg
        for part in key.split("."):
            value = value[part]
        if value != needed:
            return f"{key} is {value!r}, there it is {needed!r}"
    return ""


def torchvision_model(cfg: CfgNode, weights: Mapping[str, Tensor]) -> nn.Module:
    """Build torchvision's Mask R-CNN as a config says, with these weights, for evaluation.

    Args:
        cfg: One for which :func:`why_not_torchvision` has nothing to say.
        weights: The state dict of its model. Not modified.
    """
    model: Any = MaskRCNN(
        resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=5),
        box_roi_pool=_pooler(cfg.MODEL.ROI_BOX_HEAD),
        mask_roi_pool=_pooler(cfg.MODEL.ROI_MASK_HEAD),
        box_predictor=FastRCNNPredictor(1024, cfg.MODEL.ROI_HEADS.NUM_CLASSES + 1),
        mask_predictor=MaskRCNNPredictor(256, 256, cfg.MODEL.ROI_HEADS.NUM_CLASSES + 1),
        rpn_anchor_generator=AnchorGenerator(
            tuple(tuple(sizes) for sizes in cfg.MODEL.ANCHOR_GENERATOR.SIZES),
            tuple(cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS) * 5,
        ),
        min_size=cfg.INPUT.MIN_SIZE_TEST,
        max_size=cfg.INPUT.MAX_SIZE_TEST,
        image_mean=[value / 255 for value in _rgb(cfg, cfg.MODEL.PIXEL_MEAN)],
        image_std=[value / 255 for value in _rgb(cfg, cfg.MODEL.PIXEL_STD)],
        rpn_pre_nms_top_n_test=cfg.MODEL.RPN.PRE_NMS_TOPK_TEST,
        rpn_post_nms_top_n_test=cfg.MODEL.RPN.POST_NMS_TOPK_TEST,
        rpn_nms_thresh=cfg.MODEL.RPN.NMS_THRESH,
        box_score_thresh=cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
        box_nms_thresh=cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST,
        box_detections_per_img=cfg.TEST.DETECTIONS_PER_IMAGE,
    )
    anchors = cfg.MODEL.ANCHOR_GENERATOR
    ratios = list(anchors.ASPECT_RATIOS) * len(anchors.SIZES)
    model.rpn.anchor_generator.cell_anchors = [  # torchvision rounds its own to whole pixels
        cell_anchors(list(sizes), list(of_level))
        for sizes, of_level in zip(anchors.SIZES, ratios, strict=False)
    ]
    model.load_state_dict(_renamed(cfg, weights))
    evaluated: nn.Module = model.eval()
    return evaluated


def _pooler(head: CfgNode) -> MultiScaleRoIAlign:
    levels = ["0", "1", "2", "3"]
    return MultiScaleRoIAlign(levels, head.POOLER_RESOLUTION, head.POOLER_SAMPLING_RATIO)


def _rgb(cfg: CfgNode, values: list[float]) -> list[float]:
    return list(reversed(values)) if cfg.INPUT.FORMAT == "BGR" else list(values)


def _renamed(cfg: CfgNode, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring weights under torchvision's names, with background as the first class."""
    renamed = {}
    for name, value in weights.items():
        other = name
        for pattern, replacement in _NAMES:
            other = re.sub(pattern, replacement, other)
        renamed[other] = value
    stem = "backbone.body.conv1.weight"
    if cfg.INPUT.FORMAT == "BGR":
        renamed[stem] = renamed[stem].flip(1)
    for end in ("weight", "bias"):
        name = f"roi_heads.box_predictor.cls_score.{end}"
        renamed[name] = renamed[name].roll(1, dims=0)  # background comes last with us
        # Nothing predicts a box or a mask of the background: their rows are never read.
        for part, rows in (("box_predictor.bbox_pred", 4), ("mask_predictor.mask_fcn_logits", 1)):
            own = renamed[f"roi_heads.{part}.{end}"]
            unused = own.new_zeros(rows, *own.shape[1:])
            renamed[f"roi_heads.{part}.{end}"] = torch.cat([unused, own])
    return renamed

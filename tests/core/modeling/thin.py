"""A Mask R-CNN small enough to run in milliseconds."""

from typing import Any

from d2seg.core.config import CfgNode
from d2seg.core.model_zoo import get_config
from d2seg.core.modeling import build_model
from tests.reference.cases import fill_deterministic

THIN: dict[str, Any] = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 16,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.FPN.OUT_CHANNELS": 32,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[8], [16], [32], [64], [128]],
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 200,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 100,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 100,
    "MODEL.ROI_HEADS.NUM_CLASSES": 5,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 64,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 2,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 32,
    "TEST.DETECTIONS_PER_IMAGE": 40,
}


def thin_config(opts: dict[str, Any] | None = None) -> CfgNode:
    """Return the config of a thin ResNet-18 FPN with masks, changed by ``opts``."""
    cfg = get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
    cfg.merge_from_list([item for pair in (THIN | (opts or {})).items() for item in pair])
    return cfg


def thin_model(opts: dict[str, Any] | None = None) -> Any:
    """Build it with deterministic weights, for evaluation."""
    cfg = thin_config(opts)
    model = build_model(cfg).eval()
    fill_deterministic(model, pixel_std_is_one=all(std == 1 for std in cfg.MODEL.PIXEL_STD))
    return model


_HEADS: dict[str, Any] = {
    "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": (16, 16),
    "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 4,
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 9,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 32,
    "MODEL.RETINANET.NUM_CLASSES": 5,
    "MODEL.RETINANET.NUM_CONVS": 1,
}
_C4: dict[str, Any] = {
    "MODEL.RESNETS.WIDTH_PER_GROUP": 16,
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res4"],
    "MODEL.RPN.IN_FEATURES": ["res4"],
    "MODEL.ANCHOR_GENERATOR.SIZES": [[16, 32, 64]],
    "MODEL.ROI_HEADS.NAME": "Res5ROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["res4"],
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 0,
}
_DC5: dict[str, Any] = {
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 16,
    "MODEL.RESNETS.RES5_DILATION": 2,
    "MODEL.RESNETS.OUT_FEATURES": ["res5"],
    "MODEL.RPN.IN_FEATURES": ["res5"],
    "MODEL.ANCHOR_GENERATOR.SIZES": [[16, 32, 64]],
    "MODEL.ROI_HEADS.IN_FEATURES": ["res5"],
}
_RETINANET: dict[str, Any] = {
    "MODEL.META_ARCHITECTURE": "RetinaNet",
    "MODEL.MASK_ON": False,
    "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "fpn": {},
    "c4": _C4,
    "dc5": _DC5,
    "keypoints": {"MODEL.KEYPOINT_ON": True},
    "cascade": {
        "MODEL.ROI_HEADS.NAME": "CascadeROIHeads",
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
    },
    "deformable": {
        "MODEL.RESNETS.DEPTH": 50,
        "MODEL.RESNETS.WIDTH_PER_GROUP": 16,
        "MODEL.RESNETS.DEFORM_ON_PER_STAGE": [False, True, True, True],
        "MODEL.RESNETS.DEFORM_MODULATED": True,
        "MODEL.RESNETS.DEFORM_NUM_GROUPS": 2,
    },
    "retinanet": _RETINANET,
    "retinanet_bn": {
        **_RETINANET,
        "MODEL.RETINANET.NORM": "BN",
        "MODEL.RETINANET.SCORE_THRESH_TEST": 0.01,
    },
    "proposals": {"MODEL.META_ARCHITECTURE": "ProposalNetwork"},
    "semantic": {"MODEL.META_ARCHITECTURE": "SemanticSegmentor"},
    "panoptic": {"MODEL.META_ARCHITECTURE": "PanopticFPN"},
}
"""Every family of models, thin: name to what distinguishes it."""


def thin_architecture(name: str, opts: dict[str, Any] | None = None) -> Any:
    """Build a thin model of a family with deterministic weights, for evaluation."""
    return thin_model({**_HEADS, **ARCHITECTURES[name], **(opts or {})})

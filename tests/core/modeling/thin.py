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

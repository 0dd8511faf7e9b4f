"""Small Mask R-CNNs with weights that find many different objects."""

from typing import Any

from torch import Tensor, nn

from d2seg.config import load_config
from d2seg.framework import CfgNode, build_model
from tests.conftest import ROOT
from tests.reference.cases import fill_deterministic, picture

THIN: dict[str, Any] = {
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.MASK_ON": True,
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 16,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.FPN.OUT_CHANNELS": 32,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[8], [16], [32], [64], [128]],
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 200,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 100,
    "MODEL.ROI_HEADS.NUM_CLASSES": 5,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.3,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 64,
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 2,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 32,
    "TEST.DETECTIONS_PER_IMAGE": 40,
    "INPUT.MIN_SIZE_TEST": 96,
    "INPUT.MAX_SIZE_TEST": 160,
}


def thin_config(**overrides: Any) -> CfgNode:
    """Return a config of a network that runs in milliseconds; keys with ``__`` for dots."""
    values = THIN | {key.replace("__", "."): value for key, value in overrides.items()}
    cfg = load_config(ROOT / "configs" / "Base-RCNN-FPN.yaml")
    cfg.merge_from_list([item for pair in values.items() for item in pair])
    return cfg


def thin_model(cfg: CfgNode | None = None) -> Any:
    """Build a model with deterministic weights, for evaluation."""
    cfg = cfg or thin_config()
    model: nn.Module = build_model(cfg).eval()
    fill_deterministic(model, pixel_std_is_one=all(std == 1 for std in cfg.MODEL.PIXEL_STD))
    return model


def pictures() -> list[Tensor]:
    """Return images (3, H, W), none of them square or a multiple of 32, one tiny."""
    return [picture(1, 97, 150), picture(2, 130, 70), picture(3, 21, 40)]

"""Small Mask R-CNNs with weights that find many different objects."""

from typing import Any

from torch import Tensor, nn

from d2seg.config import load_config
from d2seg.framework import CfgNode, build_model
from tests.conftest import ROOT
from tests.core.modeling.thin import THIN
from tests.reference.cases import fill_deterministic, picture

THIN_FOR_TESTING: dict[str, Any] = THIN | {
    "MODEL.MASK_ON": True,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 16,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.3,
    "INPUT.MIN_SIZE_TEST": 96,
    "INPUT.MAX_SIZE_TEST": 160,
}


def thin_config(**overrides: Any) -> CfgNode:
    """Return a config of a network that runs in milliseconds; keys with ``__`` for dots."""
    values = THIN_FOR_TESTING | {key.replace("__", "."): value for key, value in overrides.items()}
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

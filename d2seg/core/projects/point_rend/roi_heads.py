"""ROI heads that take configs and checkpoints of PointRend from before its heads were joined."""

import logging
from typing import Any

from torch import nn

from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.roi_heads import ROI_HEADS_REGISTRY, StandardROIHeads

logger = logging.getLogger(__name__)

_FORMER_NAMES = (
    ("mask_coarse_head.coarse_mask_fc", "mask_head.coarse_head.fc"),
    ("mask_coarse_head.", "mask_head.coarse_head."),
    ("mask_point_head.", "mask_head.point_head."),
)


@ROI_HEADS_REGISTRY.register()
class PointRendROIHeads(StandardROIHeads):
    """`StandardROIHeads` that also loads older PointRend weights; arguments as there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_load_state_dict_pre_hook(_rename_former)

    @classmethod
    def _init_mask_head(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        if cfg.MODEL.MASK_ON and cfg.MODEL.ROI_MASK_HEAD.NAME == "CoarseMaskHead":
            logger.warning(
                "MODEL.ROI_MASK_HEAD.NAME 'CoarseMaskHead' is of an older PointRend; taken as "
                "'PointRendMaskHead' with MODEL.ROI_MASK_HEAD.POOLER_TYPE ''."
            )
            cfg = cfg.clone()
            cfg.defrost()
            cfg.MODEL.ROI_MASK_HEAD.NAME = "PointRendMaskHead"
            cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE = ""
        return super()._init_mask_head(cfg, input_shape)


def _rename_former(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *unused: Any
) -> None:
    for key in list(state_dict):
        for former, name in _FORMER_NAMES:
            if key.startswith(prefix + former):
                state_dict[prefix + name + key.removeprefix(prefix + former)] = state_dict.pop(key)
                break

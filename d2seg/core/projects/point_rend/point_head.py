"""The network that classifies points, and its loss (PointRend, arXiv:1912.08193, section 3.3)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn.weight_init import c2_msra_fill
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.losses import Losses
from d2seg.core.runtime.registry import Registry
from d2seg.core.structures import Instances

POINT_HEAD_REGISTRY = Registry("POINT_HEAD")
"""Classes called with ``(cfg, input_shape)``, where the shape has the channels of a point's
features; see `StandardPointHead`."""


@POINT_HEAD_REGISTRY.register()
class StandardPointHead(nn.Module):
    """Linear layers over each point's features and the coarse prediction there.

    Args:
        input_shape: Channels of a point's features.
        num_classes: K, channels of the coarse prediction.
        fc_dim: Channels of the hidden layers.
        num_fc: How many there are.
        cls_agnostic_mask: Predict one value for a point instead of K.
        coarse_pred_each_layer: Give every layer the coarse prediction, not the first one alone.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        fc_dim: int,
        num_fc: int,
        cls_agnostic_mask: bool = False,
        coarse_pred_each_layer: bool = True,
    ) -> None:
        super().__init__()
        self.coarse_pred_each_layer = coarse_pred_each_layer
        self.fc_layers: list[nn.Module] = []
        width = (input_shape.channels or 0) + num_classes
        again = num_classes if coarse_pred_each_layer else 0
        for number in range(1, num_fc + 1):
            layer = nn.Conv1d(width, fc_dim, 1)
            c2_msra_fill(layer)
            self.add_module(f"fc{number}", layer)
            self.fc_layers.append(layer)
            width = fc_dim + again
        self.predictor = nn.Conv1d(width, 1 if cls_agnostic_mask else num_classes, 1)
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)  # type: ignore[arg-type]

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec) -> dict[str, Any]:
        """Map config keys to arguments."""
        head = cfg.MODEL.POINT_HEAD
        return {
            "input_shape": input_shape,
            "num_classes": head.NUM_CLASSES,
            "fc_dim": head.FC_DIM,
            "num_fc": head.NUM_FC,
            "cls_agnostic_mask": head.CLS_AGNOSTIC_MASK,
            "coarse_pred_each_layer": head.COARSE_PRED_EACH_LAYER,
        }

    def forward(self, fine_grained_features: Tensor, coarse_features: Tensor) -> Tensor:
        """Map features (R, C, P) and coarse predictions (R, K, P) to logits (R, K or 1, P)."""
        x = torch.cat([fine_grained_features, coarse_features], dim=1)
        for layer in self.fc_layers:
            x = F.relu(layer(x))
            if self.coarse_pred_each_layer:
                x = torch.cat([x, coarse_features], dim=1)
        return self.predictor(x)


def select_class(logits: Tensor, classes: Tensor) -> Tensor:
    """Pick the logits of each region's own class.

    Args:
        logits: (R, K or 1, ...) float; with one channel it is that of every class.
        classes: (R,) int64 in [0, K).

    Returns:
        (R, 1, ...) float.
    """
    if logits.shape[1] == 1:
        return logits
    return logits[torch.arange(logits.shape[0], device=logits.device), classes][:, None]


def point_loss(logits: Tensor, instances: Sequence[Instances], labels: Tensor) -> Losses:
    """Compute ``loss_mask_point``: binary cross entropy of each region's own class.

    Args:
        logits: (R, K or 1, P) float.
        instances: With ``gt_classes``; R of them in all.
        labels: (R, P) float in [0, 1]; points labelled -1 add nothing.
    """
    if logits.numel() == 0:
        return Losses({"loss_mask_point": logits.sum() * 0.0})
    chosen = select_class(logits, torch.cat([one.gt_classes for one in instances]))[:, 0]
    known = labels >= 0
    loss = F.binary_cross_entropy_with_logits(
        chosen, labels.to(chosen.dtype).clamp(min=0), weight=known.to(chosen.dtype)
    )
    right = (chosen.detach() > 0) == (labels > 0.5)
    return Losses({"loss_mask_point": loss}, {"point/accuracy": right[known].float().mean()})


def roi_mask_point_loss(
    mask_logits: Tensor, instances: Sequence[Instances], point_labels: Tensor
) -> Tensor:
    """Compute `point_loss` as a scalar."""
    return point_loss(mask_logits, instances, point_labels)["loss_mask_point"]


def build_point_head(cfg: Any, input_channels: ShapeSpec) -> nn.Module:
    """Build the head that ``MODEL.POINT_HEAD.NAME`` names."""
    return POINT_HEAD_REGISTRY.get(cfg.MODEL.POINT_HEAD.NAME)(cfg, input_channels)

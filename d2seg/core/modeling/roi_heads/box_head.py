"""Layers from pooled regions to the features of boxes."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn.weight_init import c2_msra_fill, c2_xavier_fill
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import Linear, ShapeSpec
from d2seg.core.layers.conv import is_fusing, is_watched
from d2seg.core.modeling.roi_heads.convolutions import add_convolutions
from d2seg.core.runtime.registry import Registry

ROI_BOX_HEAD_REGISTRY = Registry("ROI_BOX_HEAD")
"""Classes called with ``(cfg, input_shape)`` that have an ``output_shape``."""

_REGIONS_AT_ONCE = 256


@ROI_BOX_HEAD_REGISTRY.register()
class FastRCNNConvFCHead(nn.Module):
    """3x3 convolutions, then fully connected layers, each followed by a ReLU.

    Args:
        input_shape: Channels, height and width of the pooled regions.
        conv_dims: Channels of each convolution.
        fc_dims: Width of each fully connected layer.
        conv_norm: Norm of the convolutions, as of `d2seg.core.layers.get_norm`.
    """

    _conv_names: list[str]
    _linear_names: list[str]

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        conv_dims: Sequence[int],
        fc_dims: Sequence[int],
        conv_norm: Any = "",
    ) -> None:
        super().__init__()
        if not conv_dims and not fc_dims:
            raise ValueError(
                "MODEL.ROI_BOX_HEAD has NUM_CONV 0 and NUM_FC 0, but needs at least one layer."
            )
        channels = input_shape.channels or 0
        self.conv_norm_relus = add_convolutions(self, "conv", channels, conv_dims, conv_norm)
        channels = conv_dims[-1] if conv_dims else channels
        self._output_shape = ShapeSpec(channels, input_shape.height, input_shape.width)
        self.fcs: list[nn.Module] = []
        features = channels * (input_shape.height or 1) * (input_shape.width or 1)
        for index, width in enumerate(fc_dims, start=1):
            linear = Linear(features, width)
            self.add_module(f"fc{index}", linear)
            self.fcs.append(linear)
            features = width
            self._output_shape = ShapeSpec(channels=width)
        self._conv_names = [f"conv{index + 1}" for index in range(len(conv_dims))]
        self._linear_names = [f"fc{index + 1}" for index in range(len(fc_dims))]
        # All layers are made before any is filled: with a seed the weights are then detectron2's.
        for conv in self.conv_norm_relus:
            c2_msra_fill(conv)
        for layer in self.fcs:
            c2_xavier_fill(layer)

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec) -> dict[str, Any]:
        """Map config keys to arguments."""
        head = cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "conv_dims": [head.CONV_DIM] * head.NUM_CONV,
            "fc_dims": [head.FC_DIM] * head.NUM_FC,
            "conv_norm": head.NORM,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Map (R, C, S, S) to (R, D), or to (R, D, S, S) without fully connected layers."""
        for name, layer in self.named_children():
            if name in self._conv_names:
                x = layer(x)
            elif name in self._linear_names:
                if torch.jit.is_scripting():
                    x = F.relu(layer(x.flatten(1)))
                else:
                    x = F.relu(_flatten_and_run(layer, x))
        return x

    __jit_unused_properties__ = ("output_shape",)

    @property
    def output_shape(self) -> ShapeSpec:
        """Shape of the features of one box."""
        return self._output_shape


def _flatten_and_run(layer: nn.Module, x: Tensor) -> Tensor:
    """Flatten regions (R, ...) and run a linear layer on them.

    Channels-last regions are copied for that; in inference only some of them at a time.
    """
    if x.dim() == 2 or not is_fusing() or is_watched(layer):
        out: Tensor = layer(x.flatten(1))
        return out
    return torch.cat([layer(part.flatten(1)) for part in x.split(_REGIONS_AT_ONCE)])


def build_box_head(cfg: Any, input_shape: ShapeSpec) -> nn.Module:
    """Build the head that ``MODEL.ROI_BOX_HEAD.NAME`` names."""
    return ROI_BOX_HEAD_REGISTRY.get(cfg.MODEL.ROI_BOX_HEAD.NAME)(cfg, input_shape)

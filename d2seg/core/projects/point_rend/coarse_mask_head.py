"""The small mask that PointRend refines (arXiv:1912.08193, section 4, architecture)."""

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from fvcore.nn.weight_init import c2_msra_fill, c2_xavier_fill
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import Conv2d, Linear, ShapeSpec


class ConvFCHead(nn.Module):
    """Halves a pooled region by a convolution and predicts a whole mask with linear layers.

    Args:
        input_shape: Channels, height and width of the pooled regions.
        conv_dim: Channels of the convolution; wider regions are narrowed first.
        fc_dims: Channels of the hidden linear layers.
        output_shape: Shape (K, S, S) of the result for each region.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        conv_dim: int,
        fc_dims: Sequence[int],
        output_shape: Sequence[int],
    ) -> None:
        super().__init__()
        channels = input_shape.channels or 0
        self.output_shape = tuple(output_shape)
        self.conv_layers: list[nn.Module] = []
        if channels > conv_dim:
            self.reduce_channel_dim_conv = Conv2d(channels, conv_dim, 1, activation=F.relu)
            self.conv_layers.append(self.reduce_channel_dim_conv)
        else:
            conv_dim = channels
        self.reduce_spatial_dim_conv = Conv2d(conv_dim, conv_dim, 2, stride=2, activation=F.relu)
        self.conv_layers.append(self.reduce_spatial_dim_conv)
        self.fcs: list[nn.Module] = []
        width = conv_dim * ((input_shape.height or 0) // 2) * ((input_shape.width or 0) // 2)
        for number, fc_dim in enumerate(fc_dims, start=1):
            layer = Linear(width, fc_dim)
            self.add_module(f"fc{number}", layer)
            self.fcs.append(layer)
            width = fc_dim
        self.prediction = Linear(width, math.prod(self.output_shape))
        self._fill()

    def _fill(self) -> None:
        for conv in self.conv_layers:
            c2_msra_fill(conv)
        for layer in self.fcs:
            c2_xavier_fill(layer)
        nn.init.normal_(self.prediction.weight, std=0.001)
        nn.init.zeros_(self.prediction.bias)

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec) -> dict[str, Any]:
        """Map config keys to arguments."""
        head = cfg.MODEL.ROI_MASK_HEAD
        side = head.OUTPUT_SIDE_RESOLUTION
        return {
            "input_shape": input_shape,
            "conv_dim": head.CONV_DIM,
            "fc_dims": [head.FC_DIM] * head.NUM_FC,
            "output_shape": (cfg.MODEL.ROI_HEADS.NUM_CLASSES, side, side),
        }

    def forward(self, x: Tensor) -> Tensor:
        """Map regions (R, C, H, W) to (R, *output_shape)."""
        for conv in self.conv_layers:
            x = conv(x)
        x = x.flatten(1)
        for layer in self.fcs:
            x = F.relu(layer(x))
        return self.prediction(x).unflatten(1, self.output_shape)

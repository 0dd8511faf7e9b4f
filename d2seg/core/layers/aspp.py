"""Convolutions at several dilations side by side (DeepLab v3, arXiv:1706.05587, section 3.3)."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn.weight_init import c2_xavier_fill
from torch import Tensor, nn

from d2seg.core.layers.batch_norm import get_norm
from d2seg.core.layers.separable import DepthwiseSeparableConv2d
from d2seg.core.layers.wrappers import Conv2d

Activation = Callable[[Tensor], Tensor] | None


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3 and a pooled branch, put together.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dilations: Of the three 3x3 convolutions.
        norm: As of `d2seg.core.layers.get_norm`; with one the convolutions have no bias.
        activation: After each convolution; a module is copied for each.
        pool_kernel_size: Height and width of the average pool; None for the whole map.
        dropout: Share of the output that is dropped in training.
        use_depthwise_separable_conv: For the 3x3 convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dilations: Sequence[int],
        *,
        norm: Any,
        activation: Activation,
        pool_kernel_size: tuple[int, int] | None = None,
        dropout: float = 0.0,
        use_depthwise_separable_conv: bool = False,
    ) -> None:
        super().__init__()
        if len(dilations) != 3:
            raise ValueError(f"ASPP needs 3 dilations; found {len(dilations)}.")
        self.pool_kernel_size = pool_kernel_size
        self.dropout = dropout

        def branch(channels: int, kernel: int, dilation: int = 1) -> Conv2d:
            conv = Conv2d(
                channels,
                out_channels,
                kernel,
                padding=dilation * (kernel // 2),
                dilation=dilation,
                bias=not norm,
                norm=get_norm(norm, out_channels),
                activation=copy.deepcopy(activation),
            )
            c2_xavier_fill(conv)
            return conv

        self.convs = nn.ModuleList([branch(in_channels, 1)])
        for dilation in dilations:
            if use_depthwise_separable_conv:
                own = {"norm1": norm, "activation1": copy.deepcopy(activation)}
                own |= {"norm2": norm, "activation2": copy.deepcopy(activation)}
                self.convs.append(
                    DepthwiseSeparableConv2d(
                        in_channels,
                        out_channels,
                        kernel_size=3,
                        padding=dilation,
                        dilation=dilation,
                        **own,
                    )
                )
            else:
                self.convs.append(branch(in_channels, 3, dilation))
        # No norm: a pooled map may be a single cell, which has no statistics.
        pooled = Conv2d(
            in_channels, out_channels, 1, bias=True, activation=copy.deepcopy(activation)
        )
        c2_xavier_fill(pooled)
        self.convs.append(pooled)
        self.project = branch(5 * out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W).

        Raises:
            ValueError: In training, when the map does not divide into pools.
        """
        size_hw = x.shape[-2:]
        kernel = self.pool_kernel_size or (int(size_hw[0]), int(size_hw[1]))
        if self.training and (size_hw[0] % kernel[0] or size_hw[1] % kernel[1]):
            raise ValueError(
                f"ASPP pools {kernel[0]}x{kernel[1]} cells, into which a map of "
                f"{size_hw[0]}x{size_hw[1]} does not divide."
            )
        branches = [conv(x) for conv in self.convs[:-1]]
        pooled = self.convs[-1](F.avg_pool2d(x, kernel, stride=1))
        branches.append(F.interpolate(pooled, size=size_hw, mode="bilinear", align_corners=False))
        out = self.project(torch.cat(branches, dim=1))
        return F.dropout(out, self.dropout, self.training) if self.dropout > 0 else out

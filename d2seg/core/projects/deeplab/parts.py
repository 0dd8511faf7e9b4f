"""The parts of DeepLab's heads (v3, arXiv:1706.05587; v3+, arXiv:1802.02611)."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from fvcore.nn.weight_init import c2_xavier_fill
from torch import nn

from d2seg.core.layers import ASPP, Conv2d, DepthwiseSeparableConv2d, ShapeSpec, get_norm


def build_pyramid(
    shape: ShapeSpec,
    width: int,
    dilations: Sequence[int],
    dropout: float,
    norm: Any,
    train_size: tuple[int, int] | None,
    separable: bool,
) -> ASPP:
    """Build the pyramid for features of a shape; arguments as of `DeepLabV3Head`."""
    stride = shape.stride or 1
    if train_size is not None and (train_size[0] % stride or train_size[1] % stride):
        raise ValueError(
            f"INPUT.CROP.SIZE is {tuple(train_size)}, but must divide into cells of {stride} "
            "pixels, the stride of the features that DeepLab pools."
        )
    return ASPP(
        shape.channels or 0,
        width,
        dilations,
        norm=norm,
        activation=F.relu,
        pool_kernel_size=train_size and (train_size[0] // stride, train_size[1] // stride),
        dropout=dropout,
        use_depthwise_separable_conv=separable,
    )


def build_decoder_level(
    shape: ShapeSpec, projected: int, width: int, coarser: int, norm: Any, separable: bool
) -> nn.ModuleDict:
    """Build what reduces a level (``project_conv``) and joins it with coarser ones (``fuse_conv``).

    Args:
        shape: Of the level.
        projected: Channels that it is reduced to.
        width: Channels of the result.
        coarser: Channels of what comes from the coarser levels.
        norm: As of `d2seg.core.layers.get_norm`; with one the convolutions have no bias.
        separable: Use one separable 5x5 convolution instead of two plain 3x3 ones.
    """
    if separable:
        fuse: nn.Module = DepthwiseSeparableConv2d(
            projected + coarser,
            width,
            kernel_size=5,
            padding=2,
            norm1=norm,
            activation1=F.relu,
            norm2=norm,
            activation2=F.relu,
        )
    else:
        fuse = nn.Sequential(
            _conv(projected + coarser, width, 3, norm), _conv(width, width, 3, norm)
        )
    project = _conv(shape.channels or 0, projected, 1, norm)
    return nn.ModuleDict({"project_conv": project, "fuse_conv": fuse})


def _conv(in_channels: int, out_channels: int, kernel: int, norm: Any) -> Conv2d:
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel,
        padding=kernel // 2,
        bias=not norm,
        norm=get_norm(norm, out_channels),
        activation=F.relu,
    )
    c2_xavier_fill(conv)
    return conv


def build_predictor(width: int, num_classes: int) -> Conv2d:
    """Build the 1x1 convolution that classifies."""
    predictor = Conv2d(width, num_classes, 1)
    nn.init.normal_(predictor.weight, std=0.001)
    nn.init.zeros_(predictor.bias)  # type: ignore[arg-type]
    return predictor

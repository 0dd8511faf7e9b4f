"""A ResNet with dilation in its last stages (DeepLab v3, arXiv:1706.05587, section 3)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from d2seg.core.layers import CNNBlockBase, ShapeSpec
from d2seg.core.modeling import BACKBONE_REGISTRY, ResNet
from d2seg.core.modeling.backbone.blocks import (
    BasicStem,
    BottleneckBlock,
    DeformBottleneckBlock,
    _conv_norm,
    _fill,
)
from d2seg.core.modeling.backbone.resnet import BLOCKS_PER_STAGE, BOTTLENECK_DEPTH


class DeepLabStem(CNNBlockBase):
    """Three 3x3 convolutions and a max pool, stride 4.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the output; the first two convolutions have half as many.
        norm: As of `d2seg.core.layers.get_norm`.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 128, norm: Any = "BN") -> None:
        super().__init__(in_channels, out_channels, 4)
        half = out_channels // 2
        self.conv1 = _conv_norm(in_channels, half, 3, norm, stride=2)
        self.conv2 = _conv_norm(half, half, 3, norm)
        self.conv3 = _conv_norm(half, out_channels, 3, norm)
        _fill(self.conv1, self.conv2, self.conv3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / 4, W / 4)."""
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.relu(conv(x))
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


STEMS = {"basic": BasicStem, "deeplab": DeepLabStem}


@BACKBONE_REGISTRY.register()
def build_resnet_deeplab_backbone(cfg: Any, input_shape: ShapeSpec) -> ResNet:
    """Build the ResNet that ``MODEL.RESNETS`` describes, with the keys of DeepLab.

    Raises:
        ValueError: Settings that no such network can be built from.
    """
    keys = cfg.MODEL.RESNETS
    _check(keys)
    stem = STEMS[keys.STEM_TYPE](input_shape.channels or 3, keys.STEM_OUT_CHANNELS, keys.NORM)
    stages = [_stage(keys, number) for number in (2, 3, 4, 5)]
    return ResNet(
        stem, stages, out_features=keys.OUT_FEATURES, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT
    )


def _stage(keys: Any, number: int) -> list[CNNBlockBase]:
    """Build the blocks of a stage, 2 to 5."""
    width = 2 ** (number - 2)
    count = BLOCKS_PER_STAGE[keys.DEPTH][number - 2]
    dilation = {4: keys.RES4_DILATION, 5: keys.RES5_DILATION}.get(number, 1)
    grid = keys.RES5_MULTI_GRID if number == 5 else [1] * count
    stride = 1 if number == 2 or dilation > 1 else 2
    out_channels = keys.RES2_OUT_CHANNELS * width
    deformable: dict[str, Any] = {}
    if keys.DEFORM_ON_PER_STAGE[number - 2]:
        deformable["deform_modulated"] = keys.DEFORM_MODULATED
        deformable["deform_num_groups"] = keys.DEFORM_NUM_GROUPS
    return ResNet.make_stage(
        DeformBottleneckBlock if deformable else BottleneckBlock,
        count,
        in_channels=keys.STEM_OUT_CHANNELS if number == 2 else out_channels // 2,
        out_channels=out_channels,
        bottleneck_channels=keys.NUM_GROUPS * keys.WIDTH_PER_GROUP * width,
        num_groups=keys.NUM_GROUPS,
        norm=keys.NORM,
        stride_in_1x1=keys.STRIDE_IN_1X1,
        stride_per_block=[stride] + [1] * (count - 1),
        dilation_per_block=[dilation * factor for factor in grid],
        **deformable,
    )


def _check(keys: Any) -> None:
    deep = [depth for depth in BLOCKS_PER_STAGE if depth >= BOTTLENECK_DEPTH]
    if keys.DEPTH not in deep:
        raise ValueError(
            f"MODEL.RESNETS.DEPTH is {keys.DEPTH}, but build_resnet_deeplab_backbone makes only "
            f"{', '.join(map(str, deep))}."
        )
    if keys.STEM_TYPE not in STEMS:
        raise ValueError(
            f"MODEL.RESNETS.STEM_TYPE is '{keys.STEM_TYPE}', but must be one of {', '.join(STEMS)}."
        )
    if (keys.RES4_DILATION, keys.RES5_DILATION) not in [(1, 1), (1, 2), (1, 4), (2, 4)]:
        raise ValueError(
            "MODEL.RESNETS.RES4_DILATION and RES5_DILATION must be 1 and 1, 2 or 4, or 2 and 4; "
            f"found {keys.RES4_DILATION} and {keys.RES5_DILATION}."
        )
    blocks = BLOCKS_PER_STAGE[keys.DEPTH][3]
    if len(keys.RES5_MULTI_GRID) != blocks:
        raise ValueError(
            f"MODEL.RESNETS.RES5_MULTI_GRID needs a factor for each of the {blocks} blocks of "
            f"res5; found {list(keys.RES5_MULTI_GRID)}."
        )

"""Residual networks (ResNet, arXiv:1512.03385; ResNeXt, arXiv:1611.05431)."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from fvcore.nn.weight_init import c2_msra_fill
from torch import Tensor, nn

from d2seg.core.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm
from d2seg.core.modeling.backbone.backbone import Backbone
from d2seg.core.modeling.backbone.build import BACKBONE_REGISTRY

BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def _conv_norm(
    in_channels: int, out_channels: int, kernel: int, norm: Any, **kwargs: Any
) -> Conv2d:
    """Build a convolution without bias, followed by a norm, that keeps the size at stride 1."""
    padding = kernel // 2 * kwargs.get("dilation", 1)
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel,
        padding=padding,
        bias=False,
        norm=get_norm(norm, out_channels),
        **kwargs,
    )
    c2_msra_fill(conv)
    return conv


class BasicStem(CNNBlockBase):
    """The layers before the first residual stage: a 7x7 convolution and a max pool, stride 4.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the output.
        norm: As of `d2seg.core.layers.get_norm`.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm: Any = "BN") -> None:
        super().__init__(in_channels, out_channels, 4)
        self.conv1 = _conv_norm(in_channels, out_channels, 7, norm, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / 4, W / 4)."""
        return F.max_pool2d(F.relu(self.conv1(x)), kernel_size=3, stride=2, padding=1)


class BasicBlock(CNNBlockBase):
    """Two 3x3 convolutions, as in ResNet-18 and 34.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Of the first convolution.
        norm: As of `d2seg.core.layers.get_norm`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, norm: Any = "BN"
    ) -> None:
        super().__init__(in_channels, out_channels, stride)
        self.shortcut = _projection(in_channels, out_channels, stride, norm)
        self.conv1 = _conv_norm(in_channels, out_channels, 3, norm, stride=stride)
        self.conv2 = _conv_norm(out_channels, out_channels, 3, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        residual = self.conv2(F.relu(self.conv1(x)))
        if self.shortcut is not None:
            x = self.shortcut(x)
        return F.relu(residual + x)


class BottleneckBlock(CNNBlockBase):
    """Three convolutions 1x1, 3x3, 1x1, as in ResNet-50, 101, 152 and ResNeXt.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        bottleneck_channels: Channels of the 3x3 convolution.
        stride: Of the block.
        num_groups: Groups of the 3x3 convolution.
        norm: As of `d2seg.core.layers.get_norm`.
        stride_in_1x1: Whether the first 1x1 convolution has the stride (as in the original
            MSRA models) or the 3x3 one (as in torchvision's).
        dilation: Of the 3x3 convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: Any = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, stride)
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.shortcut = _projection(in_channels, out_channels, stride, norm)
        self.conv1 = _conv_norm(in_channels, bottleneck_channels, 1, norm, stride=stride_1x1)
        self.conv2 = _conv_norm(
            bottleneck_channels,
            bottleneck_channels,
            3,
            norm,
            stride=stride_3x3,
            groups=num_groups,
            dilation=dilation,
        )
        self.conv3 = _conv_norm(bottleneck_channels, out_channels, 1, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        residual = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        return F.relu(residual + x)


def _projection(in_channels: int, out_channels: int, stride: int, norm: Any) -> Conv2d | None:
    """Build the 1x1 convolution of a shortcut where the number of channels changes."""
    if in_channels == out_channels:
        return None
    return _conv_norm(in_channels, out_channels, 1, norm, stride=stride)


class ResNet(Backbone):
    """A stem and residual stages named ``res2``, ``res3``, ...

    Args:
        stem: Module with ``out_channels`` and ``stride``.
        stages: For each stage its blocks, which have ``out_channels`` and ``stride``.
        out_features: Names to return, of ``stem``, ``res2``, ...; by default the last stage.
        freeze_at: Freeze the stem (1), the stem and res2 (2), and so on; 0 for nothing.
    """

    def __init__(
        self,
        stem: CNNBlockBase,
        stages: Sequence[Sequence[CNNBlockBase]],
        out_features: Sequence[str] | None = None,
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stage_names = [f"res{index}" for index in range(2, 2 + len(stages))]
        self._out_feature_strides = {"stem": stem.stride}
        self._out_feature_channels = {"stem": stem.out_channels}
        stride = stem.stride
        for name, blocks in zip(self.stage_names, stages, strict=True):
            self.add_module(name, nn.Sequential(*blocks))
            for block in blocks:
                stride *= block.stride
            self._out_feature_strides[name] = stride
            self._out_feature_channels[name] = blocks[-1].out_channels
        self._out_features = list(out_features or self.stage_names[-1:])
        unknown = [name for name in self._out_features if name not in self._out_feature_strides]
        if unknown:
            raise ValueError(
                f"MODEL.RESNETS.OUT_FEATURES names '{unknown[0]}', but this network has only "
                f"{', '.join(self._out_feature_strides)}."
            )
        self.freeze(freeze_at)

    @property
    def stages(self) -> list[nn.Module]:
        """The residual stages, first to last."""
        return [getattr(self, name) for name in self.stage_names]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, H, W) to name -> (B, C, H / stride, W / stride)."""
        outputs: dict[str, Tensor] = {}
        for name in ["stem", *self.stage_names]:
            x = getattr(self, name)(x)
            if name in self._out_features:
                outputs[name] = x
        return outputs

    def freeze(self, freeze_at: int = 0) -> "ResNet":
        """Fix the stem and the first ``freeze_at - 1`` stages, in place."""
        if freeze_at >= 1:
            self.stem.freeze()
        for stage in self.stages[: max(freeze_at - 1, 0)]:
            for block in stage.children():
                block.freeze()  # type: ignore[operator]
        return self


@BACKBONE_REGISTRY.register()
def build_resnet_backbone(cfg: Any, input_shape: ShapeSpec) -> ResNet:
    """Build the ResNet that ``MODEL.RESNETS`` describes, up to the last stage it must return."""
    keys = cfg.MODEL.RESNETS
    _check(keys)
    stem = BasicStem(input_shape.channels or 3, keys.STEM_OUT_CHANNELS, keys.NORM)
    last_stage = max(_stage_number(name) for name in keys.OUT_FEATURES)
    in_channels, out_channels = keys.STEM_OUT_CHANNELS, keys.RES2_OUT_CHANNELS
    stages = []
    for number in range(2, last_stage + 1):
        dilation = keys.RES5_DILATION if number == 5 else 1
        stride = 1 if number == 2 or dilation == 2 else 2
        arguments: dict[str, Any] = {"norm": keys.NORM}
        if keys.DEPTH >= 50:
            arguments["bottleneck_channels"] = (
                keys.NUM_GROUPS * keys.WIDTH_PER_GROUP * 2 ** (number - 2)
            )
            arguments["num_groups"] = keys.NUM_GROUPS
            arguments["stride_in_1x1"] = keys.STRIDE_IN_1X1
            arguments["dilation"] = dilation
        block = BottleneckBlock if keys.DEPTH >= 50 else BasicBlock
        blocks: list[CNNBlockBase] = []
        for index in range(BLOCKS_PER_STAGE[keys.DEPTH][number - 2]):
            block_stride = stride if index == 0 else 1
            blocks.append(block(in_channels, out_channels, stride=block_stride, **arguments))
            in_channels = out_channels
        stages.append(blocks)
        out_channels *= 2
    return ResNet(stem, stages, keys.OUT_FEATURES, cfg.MODEL.BACKBONE.FREEZE_AT)


def _stage_number(name: str) -> int:
    known = {"stem": 1, "res2": 2, "res3": 3, "res4": 4, "res5": 5}
    if name not in known:
        raise ValueError(
            f"MODEL.RESNETS.OUT_FEATURES names '{name}', but must be of {', '.join(known)}."
        )
    return known[name]


def _check(keys: Any) -> None:
    """Refuse settings that no network can be built from."""
    if keys.DEPTH not in BLOCKS_PER_STAGE:
        depths = ", ".join(map(str, BLOCKS_PER_STAGE))
        raise ValueError(f"MODEL.RESNETS.DEPTH is {keys.DEPTH}, but must be one of {depths}.")
    if any(keys.DEFORM_ON_PER_STAGE):
        raise ValueError(
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE asks for deformable convolutions, which the "
            "embedded framework does not have yet; set all four to False."
        )
    if keys.RES5_DILATION not in (1, 2):
        raise ValueError(f"MODEL.RESNETS.RES5_DILATION is {keys.RES5_DILATION}, not 1 or 2.")
    if keys.DEPTH < 50 and (keys.NUM_GROUPS != 1 or keys.RES5_DILATION != 1):
        raise ValueError(
            f"MODEL.RESNETS.DEPTH {keys.DEPTH} has basic blocks, which have neither groups nor "
            f"dilation, but NUM_GROUPS is {keys.NUM_GROUPS} and RES5_DILATION {keys.RES5_DILATION}."
        )

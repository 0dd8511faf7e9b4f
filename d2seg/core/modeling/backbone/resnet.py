"""Residual networks (ResNet, arXiv:1512.03385; ResNeXt, arXiv:1611.05431)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.layers import CNNBlockBase, Linear, ShapeSpec, norm_with_eps
from d2seg.core.layers.conv import run_where_trained
from d2seg.core.modeling.backbone.backbone import Backbone
from d2seg.core.modeling.backbone.blocks import (
    BasicBlock,
    BasicStem,
    BottleneckBlock,
    DeformBottleneckBlock,
)
from d2seg.core.modeling.backbone.build import BACKBONE_REGISTRY

BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
DEFAULT_NORM_EPS = 1e-5
"""What batch norms add to the variance, wherever they come from."""

BOTTLENECK_DEPTH = 50
"""Networks at least this deep are made of bottleneck blocks."""


class ResNet(Backbone):
    """A stem and residual stages named ``res2``, ``res3``, ...

    Args:
        stem: Module with ``out_channels`` and ``stride``.
        stages: For each stage its blocks, which have ``out_channels`` and ``stride``. Those after
            the last output are left out.
        num_classes: Adds a classifier of the whole image, whose output is named ``linear``.
        out_features: Names to return, of ``stem``, ``res2``, ..., ``linear``; by default the last.
        freeze_at: Freeze the stem (1), the stem and res2 (2), and so on; 0 for nothing.
    """

    def __init__(
        self,
        stem: CNNBlockBase,
        stages: Sequence[Sequence[CNNBlockBase]],
        num_classes: int | None = None,
        out_features: Sequence[str] | None = None,
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        self.stem = stem
        stages = stages[: _num_used_stages(len(stages), num_classes, out_features)]
        self.stage_names = tuple(f"res{index}" for index in range(2, 2 + len(stages)))
        self.num_classes = num_classes
        self._out_feature_strides = {"stem": stem.stride}
        self._out_feature_channels = {"stem": stem.out_channels}
        for name, blocks in zip(self.stage_names, stages, strict=True):
            self._add_stage(name, blocks)
        names = ["stem", *self.stage_names]
        if num_classes is not None:
            self.linear = Linear(self._out_feature_channels[names[-1]], num_classes)
            nn.init.normal_(self.linear.weight, std=0.01)  # arXiv:1706.02677, section 5.1
            names.append("linear")
        self._layer_names = names
        self._out_features = list(out_features or names[-1:])
        self.freeze(freeze_at)

    def _add_stage(self, name: str, blocks: Sequence[CNNBlockBase]) -> None:
        stride = list(self._out_feature_strides.values())[-1]
        for block in blocks:
            stride *= block.stride
        self._out_feature_strides[name] = stride
        self._out_feature_channels[name] = blocks[-1].out_channels
        self.add_module(name, nn.Sequential(*blocks))

    __jit_unused_properties__ = ("stages", "size_divisibility", "padding_constraints")

    @property
    def stages(self) -> list[nn.Module]:
        """The residual stages, first to last."""
        return [getattr(self, name) for name in self.stage_names]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, H, W) to name -> (B, C, H / stride, W / stride)."""
        outputs: dict[str, Tensor] = {}
        for name, layer in self.named_children():
            if name in self._layer_names:
                if name == "linear":
                    x = x.mean(dim=[2, 3])
                if torch.jit.is_scripting():  # noqa: SIM108 - TorchScript compiles both sides
                    x = layer(x)
                else:
                    x = run_where_trained(layer, x)
                if name in self._out_features:
                    outputs[name] = x
        return outputs

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of every output; the classifier's has neither."""
        return {
            name: ShapeSpec(
                channels=self._out_feature_channels.get(name),
                stride=self._out_feature_strides.get(name),
            )
            for name in self._out_features
        }

    @staticmethod
    def make_stage(
        block_class: type[CNNBlockBase],
        num_blocks: int,
        *,
        in_channels: int,
        out_channels: int,
        **kwargs: Any,
    ) -> list[CNNBlockBase]:
        """Build the blocks of one stage.

        Args:
            block_class: Called for each block with ``in_channels``, ``out_channels`` and the rest.
            num_blocks: How many.
            in_channels: Of the first block.
            out_channels: Of every block.
            **kwargs: For every block; a list named ``x_per_block`` gives each block its ``x``.
        """
        suffix = "_per_block"
        for name, values in kwargs.items():
            if name.endswith(suffix) and len(values) != num_blocks:
                raise ValueError(f"{name} has {len(values)} values for {num_blocks} blocks.")
        blocks = []
        for index in range(num_blocks):
            own = {
                name.removesuffix(suffix): value[index] if name.endswith(suffix) else value
                for name, value in kwargs.items()
            }
            blocks.append(block_class(in_channels, out_channels, **own))
            in_channels = out_channels
        return blocks

    @staticmethod
    def make_default_stages(
        depth: int, block_class: type[CNNBlockBase] | None = None, **kwargs: Any
    ) -> list[list[CNNBlockBase]]:
        """Build the four stages of a published ResNet.

        Args:
            depth: 18, 34, 50, 101 or 152.
            block_class: By default `BasicBlock` below 50 and `BottleneckBlock` from there.
            **kwargs: For every block.
        """
        _require_known_depth(depth)
        bottleneck = depth >= BOTTLENECK_DEPTH
        block_class = block_class or (BottleneckBlock if bottleneck else BasicBlock)
        in_channels, out_channels = 64, 256 if bottleneck else 64
        stages = []
        for number, count in enumerate(BLOCKS_PER_STAGE[depth], start=2):
            own = {"bottleneck_channels": out_channels // 4} if bottleneck else {}
            strides = [1 if number == 2 else 2] + [1] * (count - 1)
            stages.append(
                ResNet.make_stage(
                    block_class,
                    count,
                    in_channels=in_channels,
                    out_channels=out_channels,
                    stride_per_block=strides,
                    **own,
                    **kwargs,
                )
            )
            in_channels, out_channels = out_channels, 2 * out_channels
        return stages

    def freeze(self, freeze_at: int = 0) -> "ResNet":
        """Fix the stem and the first ``freeze_at - 1`` stages, in place."""
        if freeze_at >= 1:
            self.stem.freeze()
        for stage in self.stages[: max(freeze_at - 1, 0)]:
            for block in stage.children():
                block.freeze()  # type: ignore[operator]
        return self


make_stage = ResNet.make_stage
ResNetBlockBase = CNNBlockBase


@BACKBONE_REGISTRY.register()
def build_resnet_backbone(cfg: Any, input_shape: ShapeSpec) -> ResNet:
    """Build the ResNet that ``MODEL.RESNETS`` describes, up to the last stage it must return."""
    keys = cfg.MODEL.RESNETS
    _check(keys)
    stem = BasicStem(input_shape.channels or 3, keys.STEM_OUT_CHANNELS, resnet_norm(keys))
    # All four are made, so that a seed gives the same weights whatever the outputs are.
    stages = [build_stage(cfg, number) for number in (2, 3, 4, 5)]
    freeze_at = cfg.MODEL.BACKBONE.FREEZE_AT
    if freeze_at > 5:
        raise ValueError(
            f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}, but there are five parts to freeze, the "
            "stem (1) and res2 to res5 (2 to 5); 0 freezes nothing."
        )
    return ResNet(stem, stages, out_features=keys.OUT_FEATURES, freeze_at=freeze_at)


def build_stage(cfg: Any, number: int) -> list[CNNBlockBase]:
    """Build the blocks of one residual stage, as ``MODEL.RESNETS`` describes it.

    Args:
        cfg: The whole config.
        number: 2 to 5.
    """
    keys = cfg.MODEL.RESNETS
    count = BLOCKS_PER_STAGE[keys.DEPTH][number - 2]
    dilation = keys.RES5_DILATION if number == 5 else 1
    stride = 1 if number == 2 or dilation == 2 else 2
    out_channels = keys.RES2_OUT_CHANNELS * 2 ** (number - 2)
    block_class: type[CNNBlockBase] = BasicBlock
    arguments: dict[str, Any] = {"norm": resnet_norm(keys)}
    if keys.DEPTH >= BOTTLENECK_DEPTH:
        block_class = BottleneckBlock
        arguments["bottleneck_channels"] = (
            keys.NUM_GROUPS * keys.WIDTH_PER_GROUP * 2 ** (number - 2)
        )
        arguments["num_groups"] = keys.NUM_GROUPS
        arguments["stride_in_1x1"] = keys.STRIDE_IN_1X1
        arguments["dilation"] = dilation
    if keys.DEFORM_ON_PER_STAGE[number - 2]:
        block_class = DeformBottleneckBlock
        arguments["deform_modulated"] = keys.DEFORM_MODULATED
        arguments["deform_num_groups"] = keys.DEFORM_NUM_GROUPS
    return ResNet.make_stage(
        block_class,
        count,
        in_channels=keys.STEM_OUT_CHANNELS if number == 2 else out_channels // 2,
        out_channels=out_channels,
        stride_per_block=[stride] + [1] * (count - 1),
        **arguments,
    )


def resnet_norm(keys: Any) -> Any:
    """Return the norm of all convolutions, as of `d2seg.core.layers.get_norm`."""
    eps = keys.get("NORM_EPS", DEFAULT_NORM_EPS)
    return keys.NORM if eps == DEFAULT_NORM_EPS else norm_with_eps(keys.NORM, eps)


def _num_used_stages(
    available: int, num_classes: int | None, out_features: Sequence[str] | None
) -> int:
    """Count the stages up to the last output."""
    names = ["stem", *(f"res{index}" for index in range(2, 2 + available))]
    if out_features is None or (num_classes is not None and "linear" in out_features):
        return available
    unknown = [name for name in out_features if name not in names]
    if unknown or not out_features:
        raise ValueError(
            f"MODEL.RESNETS.OUT_FEATURES names '{', '.join(unknown)}', but this network has only "
            f"{', '.join(names)}."
        )
    return max(names.index(name) for name in out_features)


def _require_known_depth(depth: int) -> None:
    if depth not in BLOCKS_PER_STAGE:
        depths = ", ".join(map(str, BLOCKS_PER_STAGE))
        raise ValueError(f"MODEL.RESNETS.DEPTH is {depth}, but must be one of {depths}.")


def _check(keys: Any) -> None:
    """Refuse settings that no network can be built from."""
    _require_known_depth(keys.DEPTH)
    if len(keys.DEFORM_ON_PER_STAGE) != 4:
        raise ValueError(
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE needs four values, for res2 to res5, but has "
            f"{len(keys.DEFORM_ON_PER_STAGE)}."
        )
    if keys.RES5_DILATION not in (1, 2):
        raise ValueError(f"MODEL.RESNETS.RES5_DILATION is {keys.RES5_DILATION}, not 1 or 2.")
    if keys.DEPTH < BOTTLENECK_DEPTH and keys.RES2_OUT_CHANNELS > 64:
        raise ValueError(
            f"MODEL.RESNETS.DEPTH {keys.DEPTH} has 64 channels in res2, but RES2_OUT_CHANNELS is "
            f"{keys.RES2_OUT_CHANNELS}, as of deeper networks; set it to 64."
        )
    if keys.DEPTH < BOTTLENECK_DEPTH and (
        keys.NUM_GROUPS != 1 or keys.RES5_DILATION != 1 or any(keys.DEFORM_ON_PER_STAGE)
    ):
        raise ValueError(
            f"MODEL.RESNETS.DEPTH {keys.DEPTH} has basic blocks, which have neither groups nor "
            f"dilation nor deformable convolutions, but NUM_GROUPS is {keys.NUM_GROUPS}, "
            f"RES5_DILATION {keys.RES5_DILATION} and DEFORM_ON_PER_STAGE "
            f"{list(keys.DEFORM_ON_PER_STAGE)}."
        )

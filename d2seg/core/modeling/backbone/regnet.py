"""Networks whose widths follow a line (RegNet, arXiv:2003.13678); names as in pycls."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from torch import Tensor, nn

from d2seg.core.layers import CNNBlockBase
from d2seg.core.modeling.backbone.backbone import Backbone
from d2seg.core.modeling.backbone.regnet_blocks import (
    SE,
    Activation,
    BottleneckTransform,
    ResBottleneckBlock,
    ResStem,
    SimpleStem,
)

__all__ = [
    "SE",
    "AnyNet",
    "BottleneckTransform",
    "RegNet",
    "ResBottleneckBlock",
    "ResStem",
    "SimpleStem",
    "fit_to_groups",
    "stage_widths",
]

_WIDTH_STEP = 8


class AnyNet(Backbone):
    """A stem and stages ``s1``, ``s2``, ... of equal blocks (section 3.1).

    Args:
        stem_class: Called with channels in and out, norm and activation; see `SimpleStem`.
        stem_width: Channels of the stem.
        block_class: Called as `ResBottleneckBlock`.
        depths: Blocks of each stage.
        widths: Channels of each stage.
        group_widths: Channels of each group of convolutions, for each stage.
        strides: Of the first block of each stage.
        bottleneck_ratios: See `BottleneckTransform`, for each stage.
        se_ratio: Likewise, for all.
        activation_class: Builds the activations; None for ReLU.
        freeze_at: Freeze the stem (1), the stem and s1 (2), and so on; 0 for nothing.
        norm: As of `d2seg.core.layers.get_norm`.
        out_features: Names to return, of ``stem``, ``s1``, ...; by default the last.

    Raises:
        ValueError: An output that is not there.
    """

    def __init__(
        self,
        *,
        stem_class: Callable[..., CNNBlockBase],
        stem_width: int,
        block_class: Callable[..., CNNBlockBase],
        depths: Sequence[int],
        widths: Sequence[int],
        group_widths: Sequence[int],
        strides: Sequence[int],
        bottleneck_ratios: Sequence[float],
        se_ratio: float,
        activation_class: Activation | None = None,
        freeze_at: int = 0,
        norm: Any = "BN",
        out_features: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.stem = stem_class(3, stem_width, norm, activation_class)
        self.stage_names = [f"s{index}" for index in range(1, len(depths) + 1)]
        self._out_feature_channels = {"stem": stem_width}
        self._out_feature_strides = {"stem": self.stem.stride}
        common = {"norm": norm, "activation_class": activation_class, "se_ratio": se_ratio}
        for name, depth, width, stride, ratio, group in zip(
            self.stage_names, depths, widths, strides, bottleneck_ratios, group_widths, strict=True
        ):
            own = {"bottleneck_ratio": ratio, "group_width": group}
            self._add_stage(name, block_class, depth, width, stride, {**common, **own})
        names = ["stem", *self.stage_names]
        self._out_features = _known(out_features or names[-1:], names)
        self.freeze(freeze_at)

    def _add_stage(
        self,
        name: str,
        block_class: Callable[..., CNNBlockBase],
        depth: int,
        width: int,
        stride: int,
        arguments: dict[str, Any],
    ) -> None:
        before = list(self._out_feature_channels)[-1]
        w_in = self._out_feature_channels[before]
        blocks = nn.Sequential()
        for index in range(depth):
            block = block_class(w_in, width, stride if index == 0 else 1, **arguments)
            blocks.add_module(f"b{index + 1}", block)
            w_in = width
        self.add_module(name, blocks)
        self._out_feature_channels[name] = width
        self._out_feature_strides[name] = stride * self._out_feature_strides[before]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, H, W) to name -> (B, C, H / stride, W / stride)."""
        outputs: dict[str, Tensor] = {}
        for name in ["stem", *self.stage_names]:
            x = getattr(self, name)(x)
            if name in self._out_features:
                outputs[name] = x
        return outputs

    def freeze(self, freeze_at: int = 0) -> "AnyNet":
        """Fix the stem and the first ``freeze_at - 1`` stages, in place."""
        if freeze_at >= 1:
            self.stem.freeze()
        for name in self.stage_names[: max(freeze_at - 1, 0)]:
            for block in getattr(self, name):
                block.freeze()
        return self


class RegNet(AnyNet):
    """Stages whose widths are quantised from ``w_0 + w_a * j`` for block j (section 3.3).

    Args:
        stem_class: As of `AnyNet`.
        stem_width: Likewise.
        block_class: Likewise.
        depth: Blocks of all stages together.
        w_a: How much wider the line is from block to block.
        w_0: Width it begins with.
        w_m: Ratio of the widths of neighbouring stages.
        group_width: Channels of each group of convolutions.
        stride: Of every stage.
        bottleneck_ratio: See `BottleneckTransform`.
        se_ratio: Likewise.
        activation_class: As of `AnyNet`.
        freeze_at: Likewise.
        norm: Likewise.
        out_features: Likewise.
    """

    def __init__(
        self,
        *,
        stem_class: Callable[..., CNNBlockBase],
        stem_width: int,
        block_class: Callable[..., CNNBlockBase],
        depth: int,
        w_a: float,
        w_0: int,
        w_m: float,
        group_width: int,
        stride: int = 2,
        bottleneck_ratio: float = 1.0,
        se_ratio: float = 0.0,
        activation_class: Activation | None = None,
        freeze_at: int = 0,
        norm: Any = "BN",
        out_features: Sequence[str] | None = None,
    ) -> None:
        widths, depths = stage_widths(w_a, w_0, w_m, depth)
        fitted = [fit_to_groups(width, bottleneck_ratio, group_width) for width in widths]
        super().__init__(
            stem_class=stem_class,
            stem_width=stem_width,
            block_class=block_class,
            depths=depths,
            widths=[width for width, _ in fitted],
            group_widths=[group for _, group in fitted],
            strides=[stride] * len(depths),
            bottleneck_ratios=[bottleneck_ratio] * len(depths),
            se_ratio=se_ratio,
            activation_class=activation_class,
            freeze_at=freeze_at,
            norm=norm,
            out_features=out_features,
        )


def stage_widths(w_a: float, w_0: int, w_m: float, depth: int) -> tuple[list[int], list[int]]:
    """Quantise the widths on a line to those of stages (equations 2 to 4).

    Args:
        w_a: Slope, at least 0.
        w_0: Width of the first block, a multiple of 8.
        w_m: Ratio of the widths of neighbouring stages, above 1.
        depth: Number of blocks.

    Returns:
        For each stage its width, a multiple of 8, and the number of its blocks.

    Raises:
        ValueError: Parameters out of these ranges.
    """
    if w_a < 0 or w_0 <= 0 or w_0 % _WIDTH_STEP or w_m <= 1 or depth < 1:
        raise ValueError(
            "RegNet needs w_a of at least 0, w_0 a multiple of 8, w_m above 1 and a depth; found "
            f"w_a={w_a}, w_0={w_0}, w_m={w_m}, depth={depth}."
        )
    powers = (round(math.log((w_0 + w_a * j) / w_0, w_m)) for j in range(depth))
    widths = [round(w_0 * w_m**power / _WIDTH_STEP) * _WIDTH_STEP for power in powers]
    stages = [(width, len(list(blocks))) for width, blocks in groupby(widths)]
    return [width for width, _ in stages], [count for _, count in stages]


def fit_to_groups(width: int, bottleneck_ratio: float, group_width: int) -> tuple[int, int]:
    """Change a width so that its bottleneck consists of whole groups.

    Returns:
        The width, and that of the groups, which are no wider than the bottleneck.
    """
    inner = max(1, int(width * bottleneck_ratio))
    group = min(group_width, inner)
    step = math.lcm(group, int(bottleneck_ratio)) if bottleneck_ratio > 1 else group
    inner = max(step, int(step * round(inner / step)))
    return int(inner / bottleneck_ratio), group


def _known(names: Sequence[str], available: Sequence[str]) -> list[str]:
    unknown = [name for name in names if name not in available]
    if unknown:
        raise ValueError(
            f"out_features names '{unknown[0]}', but this network has only {', '.join(available)}."
        )
    return list(names)

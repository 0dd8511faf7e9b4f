"""The backbones of deployable models: a residual network, alone or under a feature pyramid."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.export.layers import fold_all
from d2seg.export.residual import ResidualNetwork


class Pyramid(nn.Module):
    """A ResNet with a feature pyramid (FPN), from images to a list of levels, finest first.

    Args:
        fpn: detectron2's ``FPN`` over a ``ResNet``.

    Attributes:
        level_names: The names of the levels in the order of the list, such as ``p2``, ``p3``.
    """

    def __init__(self, fpn: Any) -> None:
        super().__init__()
        self.network = ResidualNetwork(fpn.bottom_up)
        stages = self.network.level_names
        self.sources: list[int] = [stages.index(name) for name in fpn.in_features]
        shapes = fpn.bottom_up.output_shape()
        numbers = [shapes[name].stride.bit_length() - 1 for name in fpn.in_features]
        # Coarsest first, the order in which they run.
        laterals = fold_all(getattr(fpn, f"fpn_lateral{number}") for number in reversed(numbers))
        outputs = fold_all(getattr(fpn, f"fpn_output{number}") for number in reversed(numbers))
        self.top_lateral, self.top_output = laterals[0], outputs[0]
        self.laterals, self.outputs = nn.ModuleList(laterals[1:]), nn.ModuleList(outputs[1:])
        self.average: bool = getattr(fpn, "fuse_type", getattr(fpn, "_fuse_type", "sum")) == "avg"
        self.level_names = list(fpn.output_shape())
        self.top_levels: nn.Module | None = None
        self.top_source = 0
        if fpn.top_block is not None:
            self.top_levels = _top_levels(fpn.top_block)
            self.top_source = [*stages, *self.level_names].index(fpn.top_block.in_feature)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (1, 3, H, W), sides multiples of the coarsest stride, to (1, C, H_l, W_l) each."""
        stages = self.network(x)
        features = [stages[source] for source in self.sources]
        merged = self.top_lateral(features[-1])
        levels = [self.top_output(merged)]
        for index, (lateral, output) in enumerate(zip(self.laterals, self.outputs)):  # noqa: B905
            # The operator itself: F.interpolate would bring every other kind of resizing along.
            upsampled = torch.ops.aten.upsample_nearest2d(merged, None, [2.0, 2.0])
            merged = lateral(features[-2 - index]) + upsampled
            if self.average:
                merged = merged / 2
            levels.insert(0, output(merged))
        if self.top_levels is not None:
            levels += self.top_levels((stages + levels)[self.top_source])
        return levels


class PooledLevel(nn.Module):
    """One more level of every second cell, detectron2's ``LastLevelMaxPool``."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (1, C, H, W) to one (1, C, H / 2, W / 2)."""
        return [F.max_pool2d(x, kernel_size=1, stride=2)]


class ConvolvedLevels(nn.Module):
    """Two more levels by convolutions, detectron2's ``LastLevelP6P7``."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.p6, self.p7 = copy.deepcopy(block.p6), copy.deepcopy(block.p7)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (1, C_in, H, W) to (1, C, H / 2, W / 2) and (1, C, H / 4, W / 4)."""
        p6 = self.p6(x)
        return [p6, self.p7(F.relu(p6))]


def _top_levels(block: Any) -> nn.Module:
    return ConvolvedLevels(block) if hasattr(block, "p6") else PooledLevel()


def plain_backbone(backbone: Any) -> ResidualNetwork | Pyramid:
    """Copy detectron2's ``ResNet``, or ``FPN`` over one, into plain layers.

    Args:
        backbone: See :func:`d2seg.export.support.check_supported`. Not modified.
    """
    return Pyramid(backbone) if hasattr(backbone, "bottom_up") else ResidualNetwork(backbone)

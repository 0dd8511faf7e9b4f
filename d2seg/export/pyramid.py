"""The backbone of a deployable model: a residual network and its feature pyramid."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.export.layers import fold_all, fold_convolution


class Residual(nn.Module):
    """A residual block of two or three convolutions.

    Args:
        block: detectron2's ``BasicBlock`` or ``BottleneckBlock``.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        names = [name for name in ("conv1", "conv2", "conv3") if hasattr(block, name)]
        layers: list[nn.Module] = []
        for conv in fold_all(getattr(block, name) for name in names):
            layers += [conv, nn.ReLU()]
        self.branch = nn.Sequential(*layers[:-1])  # the last ReLU comes after the sum
        self.shortcut = (
            nn.Identity() if block.shortcut is None else fold_convolution(block.shortcut)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (1, C_in, H, W) to (1, C_out, H / stride, W / stride)."""
        return F.relu(self.branch(x) + self.shortcut(x))


class Pyramid(nn.Module):
    """A ResNet with a feature pyramid (FPN), from images to a list of levels, finest first.

    Args:
        fpn: detectron2's ``FPN`` over a ``ResNet``.

    Attributes:
        level_names: The names of the levels in the order of the list, such as ``p2``, ``p3``.
    """

    def __init__(self, fpn: Any) -> None:
        super().__init__()
        resnet = fpn.bottom_up
        self.stem = nn.Sequential(
            fold_convolution(resnet.stem.conv1), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(Residual(block) for block in getattr(resnet, name)))
            for name in resnet.stage_names
        )
        self.sources: list[int] = [list(resnet.stage_names).index(name) for name in fpn.in_features]
        shapes = resnet.output_shape()
        numbers = [shapes[name].stride.bit_length() - 1 for name in fpn.in_features]
        # Coarsest first, the order in which they run.
        laterals = fold_all(getattr(fpn, f"fpn_lateral{number}") for number in reversed(numbers))
        outputs = fold_all(getattr(fpn, f"fpn_output{number}") for number in reversed(numbers))
        self.top_lateral, self.top_output = laterals[0], outputs[0]
        self.laterals, self.outputs = nn.ModuleList(laterals[1:]), nn.ModuleList(outputs[1:])
        self.average: bool = getattr(fpn, "fuse_type", getattr(fpn, "_fuse_type", "sum")) == "avg"
        self.level_names = list(fpn.output_shape())
        self.pooled_level = -1
        if fpn.top_block is not None:
            self.pooled_level = self.level_names.index(fpn.top_block.in_feature)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (1, 3, H, W), sides multiples of the coarsest stride, to (1, C, H_l, W_l) each."""
        x = self.stem(x)
        stages: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            stages.append(x)
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
        if self.pooled_level >= 0:
            levels.append(F.max_pool2d(levels[self.pooled_level], kernel_size=1, stride=2))
        return levels

"""Residual networks and their blocks, from detectron2's."""

from typing import Any

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
        """Map (B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        return F.relu(self.branch(x) + self.shortcut(x))


def residual_stage(blocks: Any) -> nn.Sequential:
    """Put the blocks of a stage in a row.

    Args:
        blocks: detectron2's blocks of ``res2`` to ``res5``, iterable.
    """
    return nn.Sequential(*(Residual(block) for block in blocks))


class ResidualNetwork(nn.Module):
    """A ResNet, from images to the maps of all its stages, finest first.

    Args:
        resnet: detectron2's ``ResNet``.

    Attributes:
        level_names: The names of the maps in the order of the list: ``stem``, ``res2``, ...
    """

    def __init__(self, resnet: Any) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            fold_convolution(resnet.stem.conv1), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)
        )
        self.stages = nn.ModuleList(
            residual_stage(getattr(resnet, name)) for name in resnet.stage_names
        )
        self.level_names = ["stem", *resnet.stage_names]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (1, 3, H, W) to (1, C_l, H_l, W_l) for each of ``level_names``."""
        x = self.stem(x)
        maps = [x]
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

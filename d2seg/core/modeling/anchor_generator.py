"""Anchors for every level of a feature pyramid."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import ShapeSpec
from d2seg.core.ops.anchors import (
    cell_anchors,
    grid_anchors,
    level_strides,
    rotated_cell_anchors,
)
from d2seg.core.runtime.registry import Registry
from d2seg.core.structures import Boxes, RotatedBoxes

ANCHOR_GENERATOR_REGISTRY = Registry("ANCHOR_GENERATOR")


class _Buffers(nn.Module):
    """A list of tensors that move with the model and are not saved: they follow from the config."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        for index, tensor in enumerate(tensors):
            self.register_buffer(str(index), tensor, persistent=False)

    def __len__(self) -> int:
        return len(self._buffers)

    def __iter__(self) -> Any:
        return iter(self._buffers.values())

    def __getitem__(self, index: int) -> Tensor:
        return list(self)[index]


@ANCHOR_GENERATOR_REGISTRY.register()
class DefaultAnchorGenerator(nn.Module):
    """Anchors of given sizes and aspect ratios, centred on every cell of every level.

    Args:
        sizes: Square roots of anchor areas in pixels: one list for each level, or one for all.
        aspect_ratios: Height over width: one list for each level, or one for all.
        strides: Pixels between cells, for each level.
        offset: Position of the first centre in strides, in [0, 1).
        whole_pixels: Round the anchors of a cell to whole pixels.
        measured_strides: Share the image out among the cells, see
            `d2seg.core.ops.anchors.level_strides`.
    """

    box_dim = 4
    __jit_unused_properties__ = ("num_anchors", "num_cell_anchors")

    @configurable
    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]],
        aspect_ratios: Sequence[Sequence[float]],
        strides: Sequence[int],
        offset: float = 0.5,
        whole_pixels: bool = False,
        measured_strides: bool = False,
    ) -> None:
        super().__init__()
        if not 0.0 <= offset < 1.0:
            raise ValueError(f"MODEL.ANCHOR_GENERATOR.OFFSET is {offset}, but must be in [0, 1).")
        self.strides = list(strides)
        self.num_features = len(self.strides)
        self.offset = offset
        self.whole_pixels = whole_pixels
        self.measured_strides = measured_strides
        per_level_sizes = _for_each_level("SIZES", sizes, self.num_features)
        per_level_ratios = _for_each_level("ASPECT_RATIOS", aspect_ratios, self.num_features)
        self.cell_anchors = _Buffers(
            [
                self.generate_cell_anchors(level_sizes, ratios)
                for level_sizes, ratios in zip(per_level_sizes, per_level_ratios, strict=True)
            ]
        )

    @classmethod
    def from_config(cls, cfg: Any, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        return {
            "sizes": cfg.MODEL.ANCHOR_GENERATOR.SIZES,
            "aspect_ratios": cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS,
            "strides": [shape.stride for shape in input_shape],
            "offset": cfg.MODEL.ANCHOR_GENERATOR.OFFSET,
            "whole_pixels": cfg.MODEL.ANCHOR_GENERATOR.get("WHOLE_PIXELS", False),
            "measured_strides": cfg.MODEL.ANCHOR_GENERATOR.get("MEASURED_STRIDES", False),
        }

    def generate_cell_anchors(
        self,
        sizes: Sequence[float] = (32, 64, 128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1, 2),
    ) -> Tensor:
        """List the anchors of one cell around the origin: (A, 4) XYXY; ratios vary fastest."""
        return cell_anchors(
            list(map(float, sizes)), list(map(float, aspect_ratios)), self.whole_pixels
        )

    @property
    def num_anchors(self) -> list[int]:
        """How many anchors a cell of each level has."""
        return [len(cell) for cell in self.cell_anchors]

    num_cell_anchors = num_anchors

    def forward(self, features: list[Tensor]) -> list[Boxes]:
        """Lay anchors over the feature maps (B, C, H_l, W_l).

        Returns:
            For each level Boxes of length H_l * W_l * A_l, ordered (y, x, anchor).
        """
        cells = [named[1] for named in self.cell_anchors.named_buffers()]
        _require_levels(len(features), len(cells))
        grids = [(feature.shape[-2], feature.shape[-1]) for feature in features]
        strides = level_strides(self.strides, grids, self.measured_strides)
        anchors: list[Boxes] = []
        for level, grid_hw in enumerate(grids):
            anchors.append(Boxes(grid_anchors(cells[level], grid_hw, strides[level], self.offset)))
        return anchors


@ANCHOR_GENERATOR_REGISTRY.register()
class RotatedAnchorGenerator(nn.Module):
    """Anchors of given sizes, aspect ratios and angles, centred on every cell of every level.

    Args:
        sizes: Square roots of anchor areas in pixels: one list for each level, or one for all.
        aspect_ratios: Height over width: one list for each level, or one for all.
        strides: Pixels between cells, for each level.
        angles: Degrees, counter-clockwise: one list for each level, or one for all.
        offset: Position of the first centre in strides, in [0, 1).
    """

    box_dim = 5
    __jit_unused_properties__ = ("num_anchors", "num_cell_anchors")

    @configurable
    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]],
        aspect_ratios: Sequence[Sequence[float]],
        strides: Sequence[int],
        angles: Sequence[Sequence[float]],
        offset: float = 0.5,
    ) -> None:
        super().__init__()
        self.strides = list(strides)
        self.num_features = len(self.strides)
        self.offset = offset
        of_levels = [
            _for_each_level(key, values, self.num_features)
            for key, values in (
                ("SIZES", sizes),
                ("ASPECT_RATIOS", aspect_ratios),
                ("ANGLES", angles),
            )
        ]
        self.cell_anchors = _Buffers(
            [
                self.generate_cell_anchors(level_sizes, ratios, degrees)
                for level_sizes, ratios, degrees in zip(*of_levels, strict=True)
            ]
        )

    @classmethod
    def from_config(cls, cfg: Any, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        return {
            "sizes": cfg.MODEL.ANCHOR_GENERATOR.SIZES,
            "aspect_ratios": cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS,
            "strides": [shape.stride for shape in input_shape],
            "offset": cfg.MODEL.ANCHOR_GENERATOR.OFFSET,
            "angles": cfg.MODEL.ANCHOR_GENERATOR.ANGLES,
        }

    def generate_cell_anchors(
        self,
        sizes: Sequence[float] = (32, 64, 128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1, 2),
        angles: Sequence[float] = (-90, -60, -30, 0, 30, 60, 90),
    ) -> Tensor:
        """List the anchors of one cell around the origin, (A, 5) float; angles vary fastest."""
        values = (list(map(float, one)) for one in (sizes, aspect_ratios, angles))
        return rotated_cell_anchors(*values)

    @property
    def num_anchors(self) -> list[int]:
        """How many anchors a cell of each level has."""
        return [len(cell) for cell in self.cell_anchors]

    num_cell_anchors = num_anchors

    def forward(self, features: list[Tensor]) -> list[RotatedBoxes]:
        """Lay anchors over the feature maps (B, C, H_l, W_l).

        Returns:
            For each level RotatedBoxes of length H_l * W_l * A_l, ordered (y, x, anchor).
        """
        cells = [named[1] for named in self.cell_anchors.named_buffers()]
        _require_levels(len(features), len(cells))
        anchors: list[RotatedBoxes] = []
        for level, feature in enumerate(features):
            cell, grid_hw = cells[level], (feature.shape[-2], feature.shape[-1])
            # Of boxes without a size the corners are the centres.
            points = torch.cat([cell[:, :2], cell[:, :2]], dim=1)
            stride_hw = (self.strides[level], self.strides[level])
            corners = grid_anchors(points, grid_hw, stride_hw, self.offset)
            shape = cell[:, 2:].repeat(grid_hw[0] * grid_hw[1], 1)
            anchors.append(RotatedBoxes(torch.cat([corners[:, :2], shape], dim=1)))
        return anchors


def build_anchor_generator(cfg: Any, input_shape: list[ShapeSpec]) -> nn.Module:
    """Build the generator that ``MODEL.ANCHOR_GENERATOR.NAME`` names."""
    return ANCHOR_GENERATOR_REGISTRY.get(cfg.MODEL.ANCHOR_GENERATOR.NAME)(cfg, input_shape)


def _require_levels(found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(f"The anchor generator has {expected} levels, but got {found} features.")


def _for_each_level(key: str, values: Sequence[Any], num_levels: int) -> Sequence[Sequence[float]]:
    if values and not isinstance(values[0], Sequence):
        values = [values]
    if len(values) == 1:
        return list(values) * num_levels
    if len(values) != num_levels:
        raise ValueError(
            f"MODEL.ANCHOR_GENERATOR.{key} has {len(values)} lists, but there are {num_levels} "
            "feature levels; give one list for each level, or one for all."
        )
    return values

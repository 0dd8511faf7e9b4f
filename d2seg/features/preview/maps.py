"""The feature maps of a page: kept small while the run goes on, coloured at its end."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from d2seg.features.colors import PrincipalColors
from d2seg.features.preview.heat import activation_strength, heat_map, value_range

LONGEST_MAP = 96
"""Larger maps are averaged down to as many cells along their longer side."""
MOST_LEVELS = 12
NOT_MAPS = ("instances.", "proposals.")


class KeptMap(NamedTuple):
    """A feature map of a shown image.

    Attributes:
        cells: (C, h, w) float16 on the CPU, without the padding.
        covers_hw: Height and width of the map in parts of the image's; its last cells may reach
            beyond the image.
        what: Shape and stride in words.
    """

    cells: Tensor
    covers_hw: tuple[float, float]
    what: str


class MapPicture(NamedTuple):
    """A map in colours, one pixel per cell, to be laid over its image.

    Attributes:
        level: The tensor's name.
        what: Shape, stride and how much the colours show, in words.
        covers_hw: As in :class:`KeptMap`.
        colors: (h, w, 3) uint8 RGB, the principal components.
        strength: (h, w, 3) uint8 RGB, the norm of each cell as a heat map.
        strength_range: The values of its darkest and its brightest colour.
    """

    level: str
    what: str
    covers_hw: tuple[float, float]
    colors: np.ndarray
    strength: np.ndarray
    strength_range: tuple[float, float]


class KeptMaps:
    """The feature maps of some images.

    Attributes:
        levels: Tensor name to its map in each image that has one, by the image's index.
        left_out: Names of maps beyond the first ``MOST_LEVELS``.
    """

    def __init__(self) -> None:
        self.levels: dict[str, dict[int, KeptMap]] = {}
        self.left_out: list[str] = []

    def add(
        self, image: int, tensors: Mapping[str, Tensor], description: Mapping[str, Any]
    ) -> None:
        """Keep the maps of an image.

        Args:
            image: Its index.
            tensors: Its features; those that are no maps are passed over.
            description: Says the ``stride`` of tensors and the ``network_size_hw`` of the image.
        """
        size_hw = description["image"]["network_size_hw"]
        described = description.get("tensors", {})
        for name in map_names(tensors, described):
            if self._has_room(name, len(tensors[name])):
                kept = _keep(tensors[name], described.get(name, {}).get("stride"), size_hw)
                self.levels.setdefault(name, {})[image] = kept

    def pictures(self, images: Iterable[int]) -> dict[int, list[MapPicture]]:
        """Colour the maps, each level in the same colours for all images.

        Args:
            images: Indices of images.

        Returns:
            For each image its maps, in the order of the levels.
        """
        found: dict[int, list[MapPicture]] = {image: [] for image in images}
        for name, level in self.levels.items():
            for image, picture in _color(name, level).items():
                found[image].append(picture)
        return found

    def _has_room(self, name: str, channels: int) -> bool:
        """Tell whether a map is of a shown level; what changes its channels is not a level."""
        if name in self.levels:
            return channels == len(next(iter(self.levels[name].values())).cells)
        if len(self.levels) < MOST_LEVELS:
            return True
        self.left_out += [] if name in self.left_out else [name]
        return False


def map_names(
    tensors: Mapping[str, Tensor], described: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Name the tensors that are feature maps of an image.

    These have three dimensions and float values; those with a row per object or proposal are none.

    Args:
        tensors: The features of an image.
        described: What is known of each: ``rows`` where it has a row per object or proposal.
    """
    return [
        name
        for name, tensor in tensors.items()
        if tensor.dim() == 3 and tensor.is_floating_point() and tensor.numel() > 0
        if "rows" not in described.get(name, {}) and not name.startswith(NOT_MAPS)
    ]


def _keep(features: Tensor, stride: float | None, size_hw: tuple[int, int]) -> KeptMap:
    shape = " x ".join(str(side) for side in features.shape)
    if stride is None:
        return KeptMap(_shrink(features), (1.0, 1.0), f"{shape}, stretched over the image")
    rows, columns = (math.ceil(side / stride) for side in size_hw)
    inside = features[:, :rows, :columns]
    height, width = (cells * stride for cells in inside.shape[1:])
    covers_hw = (height / size_hw[0], width / size_hw[1])
    return KeptMap(_shrink(inside), covers_hw, f"{shape}, stride {stride:g}")


def _shrink(features: Tensor) -> Tensor:
    """Average a map (C, h, w) down where it is large; return it as float16 on the CPU."""
    height, width = features.shape[1:]
    factor = min(1.0, LONGEST_MAP / max(height, width))
    size_hw = (math.ceil(height * factor), math.ceil(width * factor))
    small = F.adaptive_avg_pool2d(features.detach().float(), size_hw)
    limit = torch.finfo(torch.float16).max
    return small.nan_to_num(0.0).clamp(-limit, limit).to("cpu", torch.float16)


def _color(name: str, level: Mapping[int, KeptMap]) -> dict[int, MapPicture]:
    colors = PrincipalColors([item.cells for item in level.values()])
    strengths = {image: activation_strength(item.cells) for image, item in level.items()}
    low, high = value_range(list(strengths.values()))
    return {
        image: MapPicture(
            name,
            f"{item.what}, {colors.share:.0%} of the variance in the colours",
            item.covers_hw,
            colors.paint(item.cells),
            heat_map(strengths[image], low, high),
            (low, high),
        )
        for image, item in level.items()
    }

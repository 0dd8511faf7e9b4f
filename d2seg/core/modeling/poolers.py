"""Region pooling from one or several feature levels."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_pool

from d2seg.core.ops.pooling import assign_levels, pool_multilevel
from d2seg.core.ops.rotated import roi_align_rotated
from d2seg.core.ops.waiting import rows_of_groups
from d2seg.core.structures import Boxes

_ALIGNED = {"ROIAlignV2": True, "ROIAlign": False, "ROIAlignRotated": True, "ROIPool": False}


class ROIPooler(nn.Module):
    """Pools each box from the feature level that fits its size.

    Args:
        output_size: Height and width of what is pooled, or one number for both.
        scales: For each level 1 / stride; neighbouring levels differ by a factor of two.
        sampling_ratio: Samples per bin and axis; 0 adapts to the box size.
        pooler_type: ``ROIAlignV2`` (pixel centres at half coordinates), ``ROIAlign``,
            ``ROIPool`` (maxima over whole cells, arXiv:1504.08083), or ``ROIAlignRotated`` for
            rotated boxes.
        canonical_box_size: Square root of the box area that belongs on ``canonical_level``.
        canonical_level: log2 of the stride of the level for that area.
        level_margin: By how much of a level a box may be too small for one and still go there.
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        scales: Sequence[float],
        sampling_ratio: int,
        pooler_type: str,
        canonical_box_size: int = 224,
        canonical_level: int = 4,
        level_margin: float = 0.0,
    ) -> None:
        super().__init__()
        height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
        if pooler_type not in _ALIGNED:
            raise ValueError(
                f"POOLER_TYPE is '{pooler_type}', but must be one of {', '.join(_ALIGNED)}."
            )
        self.output_size = (height, width)
        self.scales = [float(scale) for scale in scales]
        self.sampling_ratio = sampling_ratio
        self.pooler_type = pooler_type
        self.aligned = _ALIGNED[pooler_type]
        self.canonical_box_size = canonical_box_size
        self.canonical_level = canonical_level
        self.level_margin = level_margin
        self.min_level, self.max_level = _level_range(self.scales)

    def forward(self, x: list[Tensor], box_lists: list[Boxes]) -> Tensor:
        """Pool the boxes of all images.

        Args:
            x: For each level (B, C, H_l, W_l) float.
            box_lists: For each of the B images its Boxes, in pixels of the network input.

        Returns:
            (R, C, height, width) float, the regions of all images one after the other.
        """
        if len(x) != len(self.scales):
            raise ValueError(f"ROIPooler has {len(self.scales)} levels, but got {len(x)} features.")
        if len(box_lists) != x[0].shape[0]:
            raise ValueError(
                f"ROIPooler got features of {x[0].shape[0]} images, but boxes of {len(box_lists)}."
            )
        if self.pooler_type in ("ROIAlignRotated", "ROIPool"):
            return self._pool_by_level(x, box_lists)
        rois = convert_boxes_to_pooler_format(box_lists)
        return pool_multilevel(
            x,
            rois[:, 1:],
            rois[:, 0],
            self.output_size,
            self.scales,
            self.sampling_ratio,
            self.aligned,
            float(self.canonical_box_size),
            self.canonical_level,
            level_margin=self.level_margin,
        )

    def _pool_by_level(self, x: list[Tensor], box_lists: list[Boxes]) -> Tensor:
        rois = convert_boxes_to_pooler_format(box_lists)
        boxes = rois[:, 1:5]
        if self.pooler_type == "ROIAlignRotated":
            half = rois[:, 3:5] / 2
            boxes = torch.cat([-half, half], dim=1)  # upright, of the same area
        levels = assign_levels(
            boxes,
            len(x),
            self.min_level,
            float(self.canonical_box_size),
            self.canonical_level,
            self.level_margin,
        )
        height, width = self.output_size
        pooled = x[0].new_zeros([rois.shape[0], x[0].shape[1], height, width])
        for level, members in enumerate(rows_of_groups(levels, len(x))):
            pooled[members] = self._pool_one_level(x[level], rois[members], self.scales[level])
        return pooled

    def _pool_one_level(self, feature: Tensor, rois: Tensor, scale: float) -> Tensor:
        if self.pooler_type == "ROIPool":
            return roi_pool(feature, rois.to(feature.dtype), self.output_size, scale)
        return roi_align_rotated(feature, rois, self.output_size, scale, self.sampling_ratio)


def assign_boxes_to_levels(
    box_lists: list[Boxes],
    min_level: int,
    max_level: int,
    canonical_box_size: int,
    canonical_level: int,
) -> Tensor:
    """Choose the level of every box of all images; see `d2seg.core.ops.pooling.assign_levels`.

    Returns:
        (R,) int64 in [0, max_level - min_level].
    """
    size = torch.cat([boxes.area() for boxes in box_lists]).sqrt()
    half = size[:, None].expand(-1, 2) / 2
    return assign_levels(
        torch.cat([-half, half], dim=1),
        max_level - min_level + 1,
        min_level,
        float(canonical_box_size),
        canonical_level,
    )


def convert_boxes_to_pooler_format(box_lists: list[Boxes]) -> Tensor:
    """Write the boxes of all images as rows of image index and box: (R, 5), or (R, 6) rotated."""
    rows = [
        torch.cat([torch.full_like(boxes.tensor[:, :1], float(index)), boxes.tensor], dim=1)
        for index, boxes in enumerate(box_lists)
    ]
    return torch.cat(rows)


def _level_range(scales: list[float]) -> tuple[int, int]:
    levels = [-math.log2(scale) for scale in scales]
    first = round(levels[0])
    if levels != [float(first + index) for index in range(len(levels))]:
        raise ValueError(
            f"ROIPooler needs strides that are powers of two and double from level to level, "
            f"but got {[1 / scale for scale in scales]}."
        )
    return first, first + len(levels) - 1

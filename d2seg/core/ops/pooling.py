"""Region features from a pyramid of feature maps (FPN, arXiv:1612.03144, section 4.2)."""

import math

import torch
from torch import Tensor

from d2seg.core.ops.boxes import box_area
from d2seg.core.ops.gathered_roi_align import Sampling, can_gather, gathered_roi_align
from d2seg.core.ops.roi_align import roi_align
from d2seg.core.ops.waiting import rows_of_groups


def assign_levels(
    boxes: Tensor,
    num_levels: int,
    min_level: int,
    canonical_size: float,
    canonical_level: int,
    margin: float = 0.0,
) -> Tensor:
    """Choose the pyramid level for each box by its area (equation 1).

    Args:
        boxes: (R, 4) float, XYXY absolute pixels.
        num_levels: How many levels there are.
        min_level: log2 of the stride of the finest level.
        canonical_size: Square root of the area that belongs on ``canonical_level``, in pixels.
        canonical_level: log2 of the stride of the level for that area.
        margin: By how much of a level a box may be too small for one and still be given to it.

    Returns:
        (R,) int64 in [0, num_levels): index from the finest level.
    """
    size = box_area(boxes).sqrt()
    # The constant keeps log2 finite for an empty box, which lands on the finest level.
    level = torch.floor(canonical_level + torch.log2(size / canonical_size + 1e-8) + margin)
    return (level.clamp(min=min_level, max=min_level + num_levels - 1) - min_level).to(torch.int64)


def pool_multilevel(
    features: list[Tensor],
    boxes: Tensor,
    batch_index: Tensor,
    output_hw: tuple[int, int],
    scales: list[float],
    sampling_ratio: int,
    aligned: bool,
    canonical_size: float,
    canonical_level: int,
    aten_only: bool = False,
    level_margin: float = 0.0,
) -> Tensor:
    """Pool each box from the level that fits its size.

    Args:
        features: Per level (B, C, H_l, W_l) float, finest first.
        boxes: (R, 4) float, XYXY absolute pixels.
        batch_index: (R,) integer, the image of each box.
        output_hw: Height and width of the result.
        scales: Per level 1 / stride.
        sampling_ratio: Samples per bin and axis; 0 adapts to the box size.
        aligned: Whether pixel centres are at half coordinates.
        canonical_size: See `assign_levels`.
        canonical_level: See `assign_levels`.
        aten_only: Use no torchvision operator.
        level_margin: The margin of `assign_levels`.

    Returns:
        (R, C, output height, output width) float, in the order of ``boxes``.
    """
    rois = torch.cat([batch_index.to(boxes.dtype)[:, None], boxes], dim=1)
    if len(features) == 1:
        return roi_align(
            features[0], rois, output_hw, scales[0], sampling_ratio, aligned, aten_only
        )
    min_level = int(0.5 - math.log(scales[0]) / math.log(2.0))  # TorchScript has no log2
    levels = assign_levels(
        boxes, len(features), min_level, canonical_size, canonical_level, level_margin
    )
    members = rows_of_groups(levels, len(features))
    if not torch.jit.is_scripting():  # noqa: SIM102  (TorchScript drops it only when alone)
        if not aten_only and all(can_gather(feature) for feature in features):
            return gathered_roi_align(
                features,
                rois.float(),
                members,
                scales,
                Sampling(output_hw, sampling_ratio, aligned),
            )
    pooled: list[Tensor] = []
    for level, feature in enumerate(features):
        of_level = rois[members[level]]
        pooled.append(
            roi_align(
                feature, of_level, output_hw, scales[level], sampling_ratio, aligned, aten_only
            )
        )
    index = torch.cat(members)
    # Where each box went: of the shape of the boxes, by which exporters know how many come out.
    places = torch.zeros_like(levels).scatter(
        0, index, torch.arange(index.shape[0], device=index.device)
    )
    return torch.cat(pooled)[places]

"""RoIAlign: torchvision's operator, or the same numbers from ATen operators alone.

RoIAlign averages bilinear samples over each cell of a P x Q grid laid on a region. Bilinear
interpolation is a row interpolation times a column interpolation, and the sample points form a
grid, so the whole operator is two small matrix products per region::

    out (P, Q) = row_weights (P, H) @ features (H, W) @ column_weights (Q, W).T

with the averaging in the weights. Only the part of the map that a region touches is multiplied.

Legend: R regions, P rows and Q columns of output cells, S cells along one axis, G samples per cell,
L length of an axis of the map.
"""

import torch
from torch import Tensor
from torchvision.ops import roi_align as torchvision_roi_align

from d2seg.core.ops.gathered_roi_align import Sampling, can_gather, gathered_roi_align


def roi_align(
    features: Tensor,
    rois: Tensor,
    output_hw: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    aten_only: bool = False,
) -> Tensor:
    """Sample every region of interest on a grid (He et al., "Mask R-CNN", section 3).

    Args:
        features: (B, C, H, W) float.
        rois: (R, 5) float; the index of the image in the batch, then XYXY in input pixels.
        output_hw: P and Q, the numbers of rows and columns of cells.
        spatial_scale: Feature cells per input pixel, such as 1/4.
        sampling_ratio: Samples per cell and axis; 0 takes ``ceil(length / cells)`` of them.
        aligned: Shift by half a cell, so that cell centres are at integers. Without it the
            region is also made at least one cell long on each axis.
        aten_only: Use ATen operators instead of torchvision's.

    Returns:
        (R, C, P, Q) of the type of ``features``; zeros for a region without area when the sampling
        adapts.
    """
    if not torch.jit.is_scripting():  # noqa: SIM102  (TorchScript drops it only when alone)
        if not aten_only and can_gather(features) and len(rois) > 0:
            sampling = Sampling(output_hw, sampling_ratio, aligned)
            everyone = torch.arange(len(rois))
            return gathered_roi_align(
                [features], rois.float(), [everyone], [spatial_scale], sampling
            )
    kind = features.dtype
    if kind != rois.dtype:
        # The finer type: positions in pixels need more digits than half precision has.
        finer = torch.promote_types(kind, rois.dtype)
        features, rois = features.to(finer), rois.to(finer)
    if aten_only:
        pooled = _separable_roi_align(
            features, rois, output_hw, spatial_scale, sampling_ratio, aligned
        )
    else:
        pooled = torchvision_roi_align(
            features, rois, output_hw, spatial_scale, sampling_ratio, aligned
        )
    return pooled.to(kind)


def _separable_roi_align(
    features: Tensor,
    rois: Tensor,
    output_hw: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    channels = features.shape[1]
    out_height, out_width = output_hw
    if len(rois) == 0:
        return features.new_zeros([0, channels, out_height, out_width])
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    lengths = corners[:, 2:] - corners[:, :2]  # (R, 2) width, height
    if not aligned:
        lengths = lengths.clamp(min=1.0)
    columns, column_span = _axis_weights(
        corners[:, 0], lengths[:, 0], features.shape[3], out_width, sampling_ratio
    )
    rows, row_span = _axis_weights(
        corners[:, 1], lengths[:, 1], features.shape[2], out_height, sampling_ratio
    )
    image_index = rois[:, 0].to(torch.int64)
    spans = torch.cat([image_index[:, None], row_span, column_span], dim=1)  # (R, 5)
    # Channels last: a crop is then a matrix whose rows are contiguous, which needs no copy.
    maps = features.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
    pooled = []
    bounds: list[list[int]] = spans.tolist()
    for index in range(len(bounds)):
        image, top, bottom, left, right = bounds[index]
        crop = maps[image, top:bottom, left:right]  # (h, w, C)
        by_row = torch.mm(rows[index, :, top:bottom], crop.flatten(1))
        by_row = by_row.view(out_height, right - left, channels)  # (P, w, C)
        column = columns[index, :, left:right].expand(out_height, -1, -1)
        pooled.append(torch.bmm(column, by_row))  # (P, Q, C)
    return torch.stack(pooled).permute(0, 3, 1, 2).contiguous()


def _axis_weights(
    start: Tensor, length: Tensor, size: int, output_size: int, sampling_ratio: int
) -> tuple[Tensor, Tensor]:
    """Weigh the entries of one axis of the map for every region and output cell.

    A sample outside ``[-1, size]`` counts as zero; one within that but off the map takes the value
    at the border.

    Args:
        start: (R,) float, where each region begins on this axis, in cells of the map.
        length: (R,) float, how long it is.
        size: L, the length of the axis.
        output_size: S.
        sampling_ratio: Samples per output cell, or 0 to adapt to the length.

    Returns:
        weights (R, S, L) float, averaged over the samples, and spans (R, 2) int64: the half-open
        range of the axis outside of which a region's weights are zero.
    """
    cell = length / output_size
    count = (
        torch.full_like(cell, sampling_ratio) if sampling_ratio > 0 else cell.ceil().clamp(min=0)
    )
    sample = torch.arange(int(count.max().clamp(min=1)), device=start.device)  # (G,)
    output = torch.arange(output_size, device=start.device)  # (S,)
    position = (
        start[:, None, None]
        + output[None, :, None] * cell[:, None, None]
        + (sample + 0.5)[None, None, :] * (cell / count)[:, None, None]
    )  # (R, S, G)
    counted = (sample[None, None, :] < count[:, None, None]) & (position >= -1) & (position <= size)
    position = position.nan_to_num(0.0).clamp(0, size - 1)
    low = position.floor()
    share = counted.to(start.dtype) / count.clamp(min=1)[:, None, None]
    upper = (position - low) * share
    low_index = low.to(torch.int64)
    high_index = (low_index + 1).clamp(max=size - 1)
    weights = start.new_zeros([len(start), output_size, size])
    weights = weights.scatter_add(2, low_index, share - upper)
    weights = weights.scatter_add(2, high_index, upper)
    end = torch.where(counted, high_index + 1, 0).amax(dim=[1, 2])
    begin = torch.where(counted, low_index, size).amin(dim=[1, 2])
    return weights, torch.stack([torch.minimum(begin, end), end], dim=1)

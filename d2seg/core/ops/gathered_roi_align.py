"""RoIAlign on maps whose pixels have their channels side by side: a weighted sum of pixels.

Each output cell is a weighted sum of the pixels around its samples, which ``embedding_bag``
computes pixel by pixel, in all threads and without another layout of the maps. torchvision's
operator copies such maps first, and runs in one thread on a CPU.

Legend: R regions, P rows and Q columns of output cells, S cells along one axis, T entries of an
axis of the map that a cell reads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_PIXELS_AT_ONCE = 250_000
"""How many pixels are addressed at a time; bounds the memory of large regions."""

_LEAST_CHANNELS = 16


def can_gather(features: Tensor) -> bool:
    """Tell whether maps (B, C, H, W) are such that gathering is faster, and nobody records it."""
    return (
        not torch.is_grad_enabled()
        and not torch.jit.is_tracing()
        and not torch.compiler.is_compiling()
        and features.device.type == "cpu"
        and features.dtype in (torch.float32, torch.bfloat16)
        and features.shape[1] >= _LEAST_CHANNELS
        and features.is_contiguous(memory_format=torch.channels_last)
    )


def gathered_roi_align(
    features: Tensor,
    rois: Tensor,
    output_hw: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    out: Tensor | None = None,
    rows: Tensor | None = None,
) -> Tensor:
    """Compute :func:`d2seg.core.ops.roi_align.roi_align` of maps that `can_gather` accepts.

    Args:
        features: (B, C, H, W) float, channels last.
        rois: (R, 5) float32; the index of the image in the batch, then XYXY in input pixels.
        output_hw: P and Q.
        spatial_scale: Feature cells per input pixel.
        sampling_ratio: Samples per cell and axis; 0 adapts to the length.
        aligned: Shift by half a cell.
        out: (N, P, Q, C) of the type of ``features``, into which regions are written.
        rows: (R,) int64, where in ``out`` each region belongs.

    Returns:
        (R, C, P, Q), channels last; or all of ``out`` in that order of axes.
    """
    height, width = features.shape[2:]
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    lengths = corners[:, 2:] - corners[:, :2]  # (R, 2) width, height
    if not aligned:
        lengths = lengths.clamp(min=1.0)
    counts = torch.full_like(lengths, sampling_ratio)
    if sampling_ratio <= 0:
        counts = (lengths / lengths.new_tensor([output_hw[1], output_hw[0]])).ceil().clamp(min=0)
    table = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])  # a view
    first = rois[:, 0].to(torch.int64) * (height * width)
    pooled = table.new_empty(len(rois), *output_hw, table.shape[1]) if out is None else out
    for members in _chunks(counts, output_hw):
        x_index, x_weight = _axis(
            corners[members, 0], lengths[members, 0], counts[members, 0], width, output_hw[1]
        )
        y_index, y_weight = _axis(
            corners[members, 1], lengths[members, 1], counts[members, 1], height, output_hw[0]
        )
        lines = first[members, None, None] + y_index * width  # (R, P, T)
        index = lines[:, :, None, :, None] + x_index[:, None, :, None, :]  # (R, P, Q, T, T)
        weight = y_weight[:, :, None, :, None] * x_weight[:, None, :, None, :]
        per_cell = index.shape[3] * index.shape[4]
        cells = F.embedding_bag(
            index.reshape(-1, per_cell),
            table,
            mode="sum",
            per_sample_weights=weight.reshape(-1, per_cell).to(table.dtype),
        )
        places = members if rows is None else rows[members]
        pooled[places] = cells.view(len(members), *output_hw, -1)
    return pooled.permute(0, 3, 1, 2)


def _chunks(counts: Tensor, output_hw: tuple[int, int]) -> list[Tensor]:
    """Divide regions (R, 2) into lists of indices, those of like numbers of samples together."""
    order = torch.argsort(counts.prod(dim=1), stable=True)
    taps = (2 * counts[order].clamp(min=1)).cummax(dim=0).values.prod(dim=1)
    chunks: list[Tensor] = []
    start = 0
    cost = (taps * (output_hw[0] * output_hw[1])).tolist()
    while start < len(order):
        stop = start + 1
        # No more than twice the samples of the first, so that few are addressed in vain.
        while (
            stop < len(order)
            and cost[stop] * (stop + 1 - start) <= _PIXELS_AT_ONCE
            and cost[stop] <= 2 * cost[start]
        ):
            stop += 1
        chunks.append(order[start:stop])
        start = stop
    return chunks


def _axis(
    start: Tensor, length: Tensor, count: Tensor, size: int, output_size: int
) -> tuple[Tensor, Tensor]:
    """Say which entries of one axis of the map each cell reads, and how much of each.

    A sample outside ``[-1, size]`` counts as zero; one within that but off the map takes the value
    at the border.

    Args:
        start: (R,) float, where each region begins on this axis, in cells of the map.
        length: (R,) float, how long it is.
        count: (R,) float, samples in each cell.
        size: Length of the axis.
        output_size: S.

    Returns:
        index (R, S, T) int64 in [0, size) and weights (R, S, T) float, averaged over the samples.
    """
    cell = length / output_size
    sample = torch.arange(int(count.max().clamp(min=1)))
    output = torch.arange(output_size)
    position = (
        start[:, None, None]
        + output[None, :, None] * cell[:, None, None]
        + (sample + 0.5)[None, None, :] * (cell / count)[:, None, None]
    )  # (R, S, samples)
    counted = (sample < count[:, None, None]) & (position >= -1) & (position <= size)
    position = torch.where(counted, position, 0.0).clamp(0, size - 1)
    low = position.floor()
    share = counted / count.clamp(min=1)[:, None, None]
    upper = (position - low) * share
    below = low.to(torch.int64)
    above = (below + 1).clamp(max=size - 1)
    # What is not counted reads what the first sample reads, with no weight.
    below = torch.where(counted, below, below[:, :, :1])
    above = torch.where(counted, above, above[:, :, :1])
    return torch.cat([below, above], dim=2), torch.cat([share - upper, upper], dim=2)

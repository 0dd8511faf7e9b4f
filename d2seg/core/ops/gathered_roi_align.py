"""RoIAlign on maps whose pixels have their channels side by side: a weighted sum of pixels.

Each output cell is a weighted sum of the pixels around its samples, which ``embedding_bag``
computes pixel by pixel, in all threads and without another layout of the maps. The gradient of a
pixel is likewise a weighted sum of the cells that read it. torchvision's operator copies such maps
first, and runs in one thread on a CPU.

Legend: R regions, P rows and Q columns of output cells, S cells along one axis, T entries of an
axis of the map that a cell reads.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_PIXELS_AT_ONCE = 250_000
"""How many pixels are addressed at a time; bounds the memory of large regions."""

_LEAST_CHANNELS = 16


class Sampling(NamedTuple):
    """How regions are sampled.

    Attributes:
        output_hw: P and Q.
        ratio: Samples per cell and axis; 0 adapts to the length.
        aligned: Shift by half a cell.
    """

    output_hw: tuple[int, int]
    ratio: int
    aligned: bool


def can_gather(features: Tensor) -> bool:
    """Tell whether maps (B, C, H, W) are such that gathering is faster, and nobody records it."""
    return (
        not torch.jit.is_tracing()
        and not torch.compiler.is_compiling()
        and features.device.type == "cpu"
        and features.dtype in (torch.float32, torch.bfloat16)
        and features.shape[1] >= _LEAST_CHANNELS
        and features.is_contiguous(memory_format=torch.channels_last)
    )


def gathered_roi_align(
    features: Sequence[Tensor],
    rois: Tensor,
    members: Sequence[Tensor],
    scales: Sequence[float],
    sampling: Sampling,
) -> Tensor:
    """Compute :func:`d2seg.core.ops.roi_align.roi_align` of maps that `can_gather` accepts.

    Gradients are those of the maps; second ones are not there.

    Args:
        features: Per level (B, C, H_l, W_l) float, channels last, of one type.
        rois: (R, 5) float32; the index of the image in the batch, then XYXY in input pixels.
        members: Per level (R_l,) int64, the regions that are pooled from it; each is in one.
        scales: Per level its cells per input pixel.
        sampling: How.

    Returns:
        (R, C, P, Q), channels last.
    """
    pooled: Tensor = _Gathered.apply(rois, members, scales, sampling, *features)
    return pooled


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rois: Tensor,
        members: Sequence[Tensor],
        scales: Sequence[float],
        sampling: Sampling,
        *features: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(rois, *members)
        ctx.shapes = [one.shape for one in features]
        ctx.scales, ctx.sampling, ctx.dtype = scales, sampling, features[0].dtype
        height, width = sampling.output_hw
        pooled = features[0].new_empty(len(rois), height, width, features[0].shape[1])
        for feature, rows, scale in zip(features, members, scales, strict=True):
            table = feature.permute(0, 2, 3, 1).reshape(-1, feature.shape[1])  # a view
            for part, index, weight in _readings(rois[rows], feature.shape, scale, sampling):
                cells = F.embedding_bag(
                    index, table, mode="sum", per_sample_weights=weight.to(table.dtype)
                )
                pooled[rows[part]] = cells.view(len(part), height, width, -1)
        return pooled.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        rois, *members = ctx.saved_tensors
        of_regions = grad.permute(0, 2, 3, 1).flatten(1, 2).float()  # [R,P*Q,C]
        grads: list[Tensor | None] = []
        levels = zip(ctx.shapes, members, ctx.scales, ctx.needs_input_grad[4:], strict=True)
        for shape, rows, scale, wanted in levels:
            if not wanted:
                grads.append(None)
                continue
            batch, channels, height, width = shape
            of_map = grad.new_zeros(batch, height, width, channels, dtype=ctx.dtype)
            of_pixels = of_map.view(-1, channels)
            for part, index, weight in _readings(rois[rows], shape, scale, ctx.sampling):
                of_cells = of_regions[rows[part]].flatten(0, 1)
                pixels, sums = _gather_back(index, weight, of_cells)
                of_pixels[pixels] += sums.to(ctx.dtype)
            grads.append(of_map.permute(0, 3, 1, 2))
        return (None, None, None, None, *grads)


def _gather_back(index: Tensor, weight: Tensor, of_cells: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels that cells read, (M,) int64, and their gradients, (M, C) float.

    Args:
        index: (N, T) int64, what each cell reads.
        weight: (N, T) float, how much of it.
        of_cells: (N, C) float, the gradients of the cells.
    """
    by_pixel, order = index.flatten().sort(stable=True)
    pixels, counts = torch.unique_consecutive(by_pixel, return_counts=True)
    sums = F.embedding_bag(
        order // index.shape[1],
        of_cells,
        counts.cumsum(0) - counts,
        mode="sum",
        per_sample_weights=weight.flatten()[order],
    )
    return pixels, sums


def _readings(
    rois: Tensor, shape: torch.Size, scale: float, sampling: Sampling
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield regions (M,), and what their cells read of a map, some regions at a time.

    Args:
        rois: (R, 5) float32.
        shape: Of the map: B, C, H and W.
        scale: Its cells per input pixel.
        sampling: How.

    Yields:
        Rows of ``rois`` (M,) int64, pixels of the map (M * P * Q, T * T) int64, counted through all
        images, and their weights.
    """
    height, width = shape[2:]
    output_hw = sampling.output_hw
    corners = rois[:, 1:] * scale - (0.5 if sampling.aligned else 0.0)
    lengths = corners[:, 2:] - corners[:, :2]  # (R, 2) width, height
    if not sampling.aligned:
        lengths = lengths.clamp(min=1.0)
    counts = torch.full_like(lengths, sampling.ratio)
    if sampling.ratio <= 0:
        counts = (lengths / lengths.new_tensor([output_hw[1], output_hw[0]])).ceil().clamp(min=0)
    first = rois[:, 0].to(torch.int64) * (height * width)
    for part in _chunks(counts, output_hw):
        x_index, x_weight = _axis(
            corners[part, 0], lengths[part, 0], counts[part, 0], width, output_hw[1]
        )
        y_index, y_weight = _axis(
            corners[part, 1], lengths[part, 1], counts[part, 1], height, output_hw[0]
        )
        lines = first[part, None, None] + y_index * width  # (M, P, T)
        index = lines[:, :, None, :, None] + x_index[:, None, :, None, :]  # (M, P, Q, T, T)
        weight = y_weight[:, :, None, :, None] * x_weight[:, None, :, None, :]
        per_cell = index.shape[3] * index.shape[4]
        yield part, index.reshape(-1, per_cell), weight.reshape(-1, per_cell)


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

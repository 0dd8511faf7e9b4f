"""Rotated boxes: overlaps, suppression, pooling (RRPN, arXiv:1703.01086).

A box is its centre, width and height in pixels, and an angle in degrees, counter-clockwise as seen
on the screen, where y points down.
"""

import torch
from torch import Tensor

from d2seg.core.ops.masks import sample_bilinear
from d2seg.core.ops.nms import keep_in_order


def rotated_corners(boxes: Tensor) -> Tensor:
    """Compute the corners of rotated boxes.

    Args:
        boxes: (N, 5) float.

    Returns:
        (N, 4, 2) float, XY pixels, in order around the box.
    """
    angle = torch.deg2rad(boxes[:, 4])
    along = torch.stack([angle.cos(), -angle.sin()], dim=1) * boxes[:, 2:3] / 2
    across = torch.stack([angle.sin(), angle.cos()], dim=1) * boxes[:, 3:4] / 2
    offsets = [-along - across, along - across, along + across, across - along]
    return boxes[:, None, :2] + torch.stack(offsets, dim=1)


def rotated_intersection(first: Tensor, second: Tensor) -> Tensor:
    """Compute the area that each pair of boxes shares, pair by pair.

    The overlap of two convex shapes is convex; its corners are the corners of one that lie in the
    other, and the points where edges cross.

    Args:
        first: (P, 5) float.
        second: (P, 5) float.

    Returns:
        (P,) float64.
    """
    # Around the first centre, so that large coordinates cost no precision.
    origin = first[:, :2].to(torch.float64)
    a = rotated_corners(first.to(torch.float64)) - origin[:, None]
    b = rotated_corners(second.to(torch.float64)) - origin[:, None]
    crossings, crossed = _edge_crossings(a, b)
    points = torch.cat([a, b, crossings], dim=1)  # [P,24,2]
    used = torch.cat([_inside(a, b), _inside(b, a), crossed], dim=1)
    return _convex_area(points, used)


def pairwise_iou_rotated(boxes_a: Tensor, boxes_b: Tensor, chunk_size: int = 65536) -> Tensor:
    """Compute intersection over union of every pair.

    Args:
        boxes_a: (N, 5) float.
        boxes_b: (M, 5) float.
        chunk_size: Pairs that are computed at once, which bounds the memory.

    Returns:
        (N, M) float of the type of ``boxes_a``, in [0, 1]; 0 where a box has no area.
    """
    radius_a = torch.hypot(boxes_a[:, 2], boxes_a[:, 3]) / 2
    radius_b = torch.hypot(boxes_b[:, 2], boxes_b[:, 3]) / 2
    distance = torch.cdist(boxes_a[:, :2].to(torch.float64), boxes_b[:, :2].to(torch.float64))
    # Only boxes whose surrounding circles meet can overlap.
    near = distance <= radius_a[:, None] + radius_b[None]
    return _iou_where(near, boxes_a, boxes_b, chunk_size)


def nms_rotated(
    boxes: Tensor, scores: Tensor, iou_threshold: float, block_size: int = 256
) -> Tensor:
    """Keep the boxes that overlap no better kept box by more than a threshold.

    Args:
        boxes: (N, 5) float.
        scores: (N,) float.
        iou_threshold: A box is dropped when its IoU with a kept, higher-ranked box is above this.
        block_size: Boxes that are compared with each other at once, which bounds the memory.

    Returns:
        (K,) int64 indices of the kept boxes, by falling score.
    """
    order = torch.sort(scores, dim=0, descending=True, stable=True)[1]
    ranked = boxes[order]
    kept = order[:0]
    for start in range(0, order.shape[0], block_size):
        block = ranked[start : start + block_size]
        free = ~_overlaps(ranked[kept], block, iou_threshold).any(dim=0)
        candidates = torch.nonzero(free)[:, 0]
        rest = block[free]
        survivors = candidates[keep_in_order(_overlaps(rest, rest, iou_threshold))]
        kept = torch.cat([kept, survivors + start])
    return order[kept]


def batched_nms_rotated(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float
) -> Tensor:
    """Run `nms_rotated` within each group.

    Args:
        boxes: (N, 5) float.
        scores: (N,) float.
        groups: (N,) int64, such as classes.
        iou_threshold: See `nms_rotated`.

    Returns:
        (K,) int64 indices of the kept boxes of all groups, by falling score.
    """
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for group in torch.unique(groups):
        members = torch.nonzero(groups == group)[:, 0]
        keep[members[nms_rotated(boxes[members], scores[members], iou_threshold)]] = True
    kept = torch.nonzero(keep)[:, 0]
    return kept[torch.sort(scores[kept], dim=0, descending=True, stable=True)[1]]


def roi_align_rotated(
    features: Tensor,
    rois: Tensor,
    output_hw: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
) -> Tensor:
    """Pool rotated regions; pixel centres are at half coordinates.

    A region without width or height has no samples where their number adapts; it gives zeros.

    Args:
        features: (B, C, H, W) float.
        rois: (R, 6) float: image index, then centre, width and height in pixels, and degrees.
        output_hw: Height and width of the result.
        spatial_scale: Feature cells for each pixel.
        sampling_ratio: Samples per bin and axis; 0 adapts to the size of the region.

    Returns:
        (R, C, output height, output width) float.
    """
    out_height, out_width = output_hw
    pooled: list[Tensor] = []
    for index in range(rois.shape[0]):
        roi = rois[index]
        center = roi[1:3] * spatial_scale - 0.5
        size = roi[3:5] * spatial_scale
        angle = torch.deg2rad(roi[5])
        if sampling_ratio > 0:
            rows, columns = sampling_ratio, sampling_ratio
        else:
            rows = int(torch.ceil(size[1] / out_height))
            columns = int(torch.ceil(size[0] / out_width))
        if rows < 1 or columns < 1:
            pooled.append(features.new_zeros([features.shape[1], out_height, out_width]))
            continue
        y = _sample_offsets(out_height * rows, size[1])[:, None]
        x = _sample_offsets(out_width * columns, size[0])[None]
        sampled = sample_bilinear(
            features[int(roi[0])],
            y * angle.cos() - x * angle.sin() + center[1],
            y * angle.sin() + x * angle.cos() + center[0],
        )  # [C,rows of samples,columns of samples]
        bins = sampled.view(sampled.shape[0], out_height, rows, out_width, columns)
        pooled.append(bins.mean(dim=(2, 4)))
    if len(pooled) == 0:
        return features.new_zeros([0, features.shape[1], out_height, out_width])
    return torch.stack(pooled)


def _overlaps(first: Tensor, second: Tensor, iou_threshold: float) -> Tensor:
    """Tell which pairs have an IoU above the threshold: (N, 5), (M, 5) -> (N, M) bool."""
    # The slack is for rounding; few pairs pass, and the exact IoU of those decides.
    possible = _iou_bound(first, second) > iou_threshold - 1e-6
    return _iou_where(possible, first, second, 65536) > iou_threshold


def _iou_bound(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Bound the IoU of every pair from above, (N, M) float64 in [0, 1]; 0 without area.

    Two boxes share no more than the upright boxes around them do, nor than the smaller has.
    """
    a, b = boxes_a.to(torch.float64), boxes_b.to(torch.float64)
    corners_a, corners_b = rotated_corners(a)[:, None], rotated_corners(b)[None]
    low = torch.maximum(corners_a.amin(dim=2), corners_b.amin(dim=2))
    high = torch.minimum(corners_a.amax(dim=2), corners_b.amax(dim=2))  # [N,M,2]
    area_a, area_b = (a[:, 2] * a[:, 3])[:, None], (b[:, 2] * b[:, 3])[None]
    shared = (high - low).clamp(min=0).prod(dim=2)
    shared = torch.minimum(shared, torch.minimum(area_a, area_b)).clamp(min=0)
    return shared / (area_a + area_b - shared).clamp(min=1e-14)


def _iou_where(possible: Tensor, boxes_a: Tensor, boxes_b: Tensor, chunk_size: int) -> Tensor:
    """Compute the IoU of chosen pairs (N, M) bool, so many at once; (N, M) float, else 0."""
    num_a, num_b = boxes_a.shape[0], boxes_b.shape[0]
    iou = torch.zeros(num_a * num_b, dtype=torch.float64, device=boxes_a.device)
    chosen = torch.nonzero(possible.flatten())[:, 0]
    for start in range(0, chosen.shape[0], chunk_size):
        pairs = chosen[start : start + chunk_size]
        a = boxes_a[torch.div(pairs, num_b, rounding_mode="floor")]
        b = boxes_b[pairs % num_b]
        shared = rotated_intersection(a, b)
        area_a = (a[:, 2] * a[:, 3]).to(torch.float64)
        area_b = (b[:, 2] * b[:, 3]).to(torch.float64)
        union = area_a + area_b - shared
        valid = (area_a > 0) & (area_b > 0)
        iou[pairs] = torch.where(valid, shared / union.clamp(min=1e-14), torch.zeros_like(shared))
    return iou.view(num_a, num_b).to(boxes_a.dtype)


def _sample_offsets(count: int, length: Tensor) -> Tensor:
    """Return the middles of ``count`` equal parts of an axis, around 0."""
    steps = torch.arange(count, dtype=length.dtype, device=length.device) + 0.5
    return (steps / count - 0.5) * length


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _inside(points: Tensor, corners: Tensor) -> Tensor:
    """Tell which points (P, 4, 2) lie in the box of each pair, its border included: (P, 4)."""
    origin = corners[:, :1]
    offset = points - origin
    width, height = corners[:, 1:2] - origin, corners[:, 3:4] - origin
    along, across = (offset * width).sum(dim=2), (offset * height).sum(dim=2)
    full_along, full_across = (width * width).sum(dim=2), (height * height).sum(dim=2)
    slack = 1e-9 * (full_along + full_across)
    return (
        (along >= -slack)
        & (along <= full_along + slack)
        & (across >= -slack)
        & (across <= full_across + slack)
    )


def _edge_crossings(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Find where edges cross: points (P, 16, 2) and whether they do (P, 16)."""
    start_a, start_b = a[:, :, None], b[:, None]
    edge_a = a.roll(-1, 1)[:, :, None] - start_a
    edge_b = b.roll(-1, 1)[:, None] - start_b
    denominator = _cross(edge_a, edge_b)  # [P,4,4]
    apart = start_b - start_a
    parallel = denominator.abs() < 1e-14
    safe = torch.where(parallel, torch.ones_like(denominator), denominator)
    at_a, at_b = _cross(apart, edge_b) / safe, _cross(apart, edge_a) / safe
    crosses = ~parallel & (at_a >= 0) & (at_a <= 1) & (at_b >= 0) & (at_b <= 1)
    points = start_a + at_a[..., None] * edge_a
    return points.flatten(1, 2), crosses.flatten(1, 2)


def _convex_area(points: Tensor, used: Tensor) -> Tensor:
    """Compute the area of the convex shape with some of the points (P, 24, 2) as corners."""
    count = used.sum(dim=1, keepdim=True).clamp(min=1)
    weight = used[..., None].to(points.dtype)
    center = (points * weight).sum(dim=1, keepdim=True) / count[..., None]
    offset = points - center
    angle = torch.atan2(offset[..., 1], offset[..., 0])
    angle = torch.where(used, angle, torch.full_like(angle, 10.0))  # unused ones come last
    order = torch.argsort(angle, dim=1)
    ordered = offset.gather(1, order[..., None].expand(-1, -1, 2))
    in_use = used.gather(1, order)
    # Unused corners repeat the first one, which adds nothing to the area.
    ordered = torch.where(in_use[..., None], ordered, ordered[:, :1])
    area = 0.5 * _cross(ordered, ordered.roll(-1, 1)).sum(dim=1)
    return torch.where(count[:, 0] > 2, area.clamp(min=0), torch.zeros_like(area))

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
    along, across = _axes(boxes[:, 4])
    along, across = along * boxes[:, 2:3] / 2, across * boxes[:, 3:4] / 2
    center = boxes[:, :2]
    first, second = center - along - across, center + along - across
    # Mirrored, as in detectron2: many anchors hold the whole of a small object, and which of them
    # overlaps it most is then a matter of the last bit of the corners.
    return torch.stack([first, second, 2 * center - first, 2 * center - second], dim=1)


def rotated_intersection(first: Tensor, second: Tensor) -> Tensor:
    """Compute the area that each pair of boxes shares, pair by pair.

    The first box is cut along the four sides of the second (Sutherland and Hodgman, 1974). It loses
    nothing but rounding where boxes are nearly the same, in float32 too.

    Args:
        first: (P, 5) float.
        second: (P, 5) float.

    Returns:
        (P,) float of the type of the boxes.
    """
    # Around the middle between them, so that large coordinates cost no precision.
    apart = (first[:, :2] - second[:, :2]) / 2
    polygon = rotated_corners(torch.cat([apart, first[:, 2:]], dim=1))
    along, across = _axes(second[:, 4])
    for axis, extent in ((along, second[:, 2]), (across, second[:, 3])):
        middle = -(axis * apart).sum(dim=1)
        polygon = _cut(polygon, axis, extent / 2 + middle)
        polygon = _cut(polygon, -axis, extent / 2 - middle)
    return _polygon_area(polygon)


def pairwise_iou_rotated(boxes_a: Tensor, boxes_b: Tensor, chunk_size: int = 65536) -> Tensor:
    """Compute intersection over union of every pair.

    Args:
        boxes_a: (N, 5) float.
        boxes_b: (M, 5) float.
        chunk_size: Pairs that are computed at once, which bounds the memory.

    Returns:
        (N, M) float of the type of ``boxes_a``, in which it is computed, as in detectron2; in
        [0, 1] up to rounding, 0 where a box has no area.
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
    # In float64: whether a box stays must not hang on the last bit of its IoU.
    overlap = _iou_where(possible, first.to(torch.float64), second.to(torch.float64), 65536)
    return overlap > iou_threshold


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
    iou = torch.zeros(num_a * num_b, dtype=boxes_a.dtype, device=boxes_a.device)
    chosen = torch.nonzero(possible.flatten())[:, 0]
    for start in range(0, chosen.shape[0], chunk_size):
        pairs = chosen[start : start + chunk_size]
        a = boxes_a[torch.div(pairs, num_b, rounding_mode="floor")]
        b = boxes_b[pairs % num_b]
        shared = rotated_intersection(a, b)
        area_a, area_b = a[:, 2] * a[:, 3], b[:, 2] * b[:, 3]
        union = area_a + area_b - shared
        valid = (area_a > 0) & (area_b > 0)
        iou[pairs] = torch.where(valid, shared / union.clamp(min=1e-14), torch.zeros_like(shared))
    return iou.view(num_a, num_b)


def _sample_offsets(count: int, length: Tensor) -> Tensor:
    """Return the middles of ``count`` equal parts of an axis, around 0."""
    steps = torch.arange(count, dtype=length.dtype, device=length.device) + 0.5
    return (steps / count - 0.5) * length


def _axes(degrees: Tensor) -> tuple[Tensor, Tensor]:
    """Return the unit vectors along the width and the height of boxes: (N, 2) each."""
    angle = torch.deg2rad(degrees)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin], dim=1), torch.stack([sin, cos], dim=1)


def _cut(polygon: Tensor, normal: Tensor, limit: Tensor) -> Tensor:
    """Cut off what lies beyond a line.

    Args:
        polygon: (P, V, 2) float; corners may repeat.
        normal: (P, 2) float, unit vectors.
        limit: (P,) float; points whose product with the normal is above it lie beyond.

    Returns:
        (P, 2 V, 2) float. The corners beyond are put where the border of the polygon leaves; where
        nothing remains, all are at one point.
    """
    beyond = (polygon * normal[:, None]).sum(dim=2) - limit[:, None]  # [P,V]
    following = beyond.roll(-1, 1)
    crosses = (beyond > 0) != (following > 0)
    share = beyond / torch.where(crosses, beyond - following, torch.ones_like(beyond))
    share = torch.where(crosses, share, torch.zeros_like(share))
    crossing = polygon + share[..., None] * (polygon.roll(-1, 1) - polygon)
    leaving = (crosses & (following > 0)).to(torch.uint8).argmax(dim=1)
    exits = crossing.gather(1, leaving[:, None, None].expand(-1, 1, 2))
    kept = torch.where((beyond > 0)[..., None], exits, polygon)
    crossing = torch.where(crosses[..., None], crossing, kept)
    return torch.stack([kept, crossing], dim=2).flatten(1, 2)


def _polygon_area(polygon: Tensor) -> Tensor:
    """Compute the area of polygons (P, V, 2): (P,)."""
    offset = polygon - polygon[:, :1]
    after = offset.roll(-1, 1)
    return (offset[..., 0] * after[..., 1] - offset[..., 1] * after[..., 0]).sum(dim=1).abs() / 2

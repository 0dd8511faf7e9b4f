"""Proposals and detections of several images as lists of one length, with a mask of what counts.

The same choices as :mod:`d2seg.core.ops.proposals`, :mod:`d2seg.core.ops.detections` and
:mod:`d2seg.core.ops.dense` make for one image after the other, with shapes that depend on nothing
but the sizes of the input. What does not count is all zeros.

Legend: B images, L levels, K classes, R regions, D detections.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from d2seg.core.ops.box_coding import decode_boxes
from d2seg.core.ops.boxes import at_least, large_enough
from d2seg.core.ops.static_selection import UNUSABLE, clip_to_limits, finite_rows

Suppress = Callable[[Tensor, Tensor, float, float], Tensor]
"""Non-maximum suppression, with the arguments of :func:`d2seg.core.ops.nms.keep_best`."""


def select_batched_proposals(
    logits: list[Tensor],
    deltas: list[Tensor],
    anchors: list[Tensor],
    limits: Tensor,
    weights: list[float],
    scale_clamp: float,
    suppress: Suppress,
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    min_side: float = 0.0,
    by_probability: bool = False,
) -> tuple[Tensor, Tensor]:
    """Pick the proposals of each image: best of each level, decoded, clipped, after NMS per level.

    Args:
        logits: Per level (B, A_l) float, objectness.
        deltas: Per level (B, A_l, 4) float, box deltas.
        anchors: Per level (A_l, 4) float, XYXY pixels.
        limits: (B, 4) float, the width and height of each image without padding, twice.
        weights: Factors that the deltas carry.
        scale_clamp: Upper bound of dw and dh.
        suppress: See :data:`Suppress`.
        nms_thresh: IoU above which the lower-scored box is dropped.
        pre_nms_topk: How many boxes of each level enter NMS.
        post_nms_topk: How many boxes of all levels leave it.
        min_box_size: Boxes must be wider and higher than this, in pixels.
        min_side: Boxes must be at least this wide and high, in pixels.
        by_probability: Rank boxes by the sigmoid of their logits, among which large ones are equal.

    Returns:
        Boxes (B, R, 4) float XYXY pixels by falling rank, and which of them count, (B, R) bool.
    """
    scores, boxes = [], []
    for level, level_logits in enumerate(logits):
        best, index, exists = top_padded(level_logits, pre_nms_topk)
        decoded = decode_rows(deltas[level], anchors[level], index, weights, scale_clamp)
        finite = finite_rows(torch.cat([decoded, best[..., None]], dim=2))
        clipped = clip_to_limits(decoded, limits[:, None])
        usable = exists & finite & large_enough(clipped, min_box_size, min_side)
        boxes.append(torch.where(usable[..., None], clipped, 0.0))
        scores.append(torch.where(usable, best.sigmoid() if by_probability else best, UNUSABLE))
    ranked = torch.stack(scores, dim=1)  # [B,L,k]
    found = torch.stack(boxes, dim=1)  # [B,L,k,4]
    keep = suppress(found.flatten(0, 1), ranked.flatten(0, 1)[:, None], nms_thresh, UNUSABLE)
    ranked = torch.where(keep.reshape(ranked.shape), ranked, UNUSABLE)
    best, index, _ = top_padded(ranked.flatten(1), post_nms_topk)
    counted = best > UNUSABLE
    return take_rows(found.flatten(1, 2), index, counted), counted


def select_batched_detections(
    boxes: Tensor,
    probs: Tensor,
    counted: Tensor,
    limits: Tensor,
    score_thresh: float,
    suppress: Suppress,
    nms_thresh: float,
    topk: int,
    min_side: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pick the detections of each image: scores above a threshold, NMS per class, the best of them.

    Args:
        boxes: (B, R, 4K) float, XYXY pixels for each class, or (B, R, 4) for all classes together.
        probs: (B, R, K + 1) float in [0, 1]; the last column is background and is ignored.
        counted: (B, R) bool; other regions are ignored.
        limits: (B, 4) float, the width and height of each image without padding, twice.
        score_thresh: Scores must exceed this.
        suppress: See :data:`Suppress`.
        nms_thresh: IoU above which the lower-scored box of the same class is dropped.
        topk: D, how many detections to return.
        min_side: Boxes must be at least this wide and high, in pixels; 0 keeps empty ones too.

    Returns:
        boxes (B, D, 4), scores (B, D) and classes (B, D) int64 by falling score; where there are no
        more, scores are ``UNUSABLE``. Regions with a value that is not finite are left out.
    """
    batch, regions, columns = probs.shape
    usable = counted & finite_rows(torch.cat([boxes, probs], dim=2))
    scores = torch.where(usable[..., None], probs[..., :-1], UNUSABLE).transpose(1, 2)  # [B,K,R]
    scores = torch.where(scores > score_thresh, scores, UNUSABLE)
    per_class = boxes.reshape(batch, regions, -1, 4).transpose(1, 2)  # [B,K or 1,R,4]
    chosen = clip_to_limits(per_class, limits[:, None, None])
    if min_side > 0:
        scores = torch.where(at_least(chosen, min_side), scores, UNUSABLE)
    chosen = torch.where(usable[:, None, :, None], chosen, 0.0)
    # One group for each list of boxes: of an image, or of a class of an image.
    grouped = scores.reshape(batch * chosen.shape[1], -1, regions)
    keep = suppress(chosen.flatten(0, 1), grouped, nms_thresh, UNUSABLE)
    ranked = torch.where(keep.reshape(scores.shape), scores, UNUSABLE).flatten(1)  # [B,K*R]
    best, index, _ = top_padded(ranked, topk)
    classes = torch.div(index, regions, rounding_mode="floor").clamp(max=columns - 2)
    rows = index if chosen.shape[1] > 1 else index % regions
    return take_rows(chosen.flatten(1, 2), rows, best > UNUSABLE), best, classes


def select_batched_dense(
    scores: list[Tensor],
    deltas: list[Tensor],
    anchors: list[Tensor],
    weights: list[float],
    scale_clamp: float,
    score_thresh: float,
    topk_candidates: int,
    suppress: Suppress,
    nms_thresh: float,
    topk: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pick the detections of each image without proposals: best of each level, after NMS per class.

    Args:
        scores: Per level (B, A_l, K) float in [0, 1].
        deltas: Per level (B, A_l, 4) float, box deltas.
        anchors: Per level (A_l, 4) float, XYXY pixels.
        weights: Factors that the deltas carry.
        scale_clamp: Upper bound of dw and dh.
        score_thresh: Scores must exceed this.
        topk_candidates: How many pairs of box and class of each level enter NMS.
        suppress: See :data:`Suppress`.
        nms_thresh: IoU above which the lower-scored box of the same class is dropped.
        topk: D, how many detections to return.

    Returns:
        As :func:`select_batched_detections`; boxes may reach beyond the image.
    """
    num_classes = scores[0].shape[2]
    found, values, kinds = [], [], []
    for level, level_scores in enumerate(scores):
        above = torch.where(level_scores > score_thresh, level_scores, UNUSABLE)
        best, index, exists = top_padded(above.flatten(1), topk_candidates)
        places = torch.div(index, num_classes, rounding_mode="floor")
        found.append(decode_rows(deltas[level], anchors[level], places, weights, scale_clamp))
        values.append(torch.where(exists, best, UNUSABLE))
        kinds.append(index % num_classes)
    boxes, best, classes = torch.cat(found, 1), torch.cat(values, 1), torch.cat(kinds, 1)
    every = torch.arange(num_classes, device=classes.device)[:, None]
    per_class = torch.where(classes[:, None] == every, best[:, None], UNUSABLE)  # [B,K,L*k]
    keep = suppress(boxes, per_class, nms_thresh, UNUSABLE).any(dim=1)
    best, index, _ = top_padded(torch.where(keep, best, UNUSABLE), topk)
    return take_rows(boxes, index, best > UNUSABLE), best, classes.gather(1, index)


def top_padded(values: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Take the best of each row, as many as asked for even where there are not so many.

    Args:
        values: (B, N) float, N at least 1.
        count: k.

    Returns:
        values (B, k), falling; their columns (B, k) int64; and which of them exist, (B, k) bool.
        Those that do not exist have the value ``UNUSABLE`` and name the last column.
    """
    size = values.shape[1]
    filler = values.new_full([values.shape[0], count], UNUSABLE)
    best, index = torch.cat([values, filler], dim=1).topk(count, dim=1)
    return best, index.clamp(max=size - 1), index < size


def decode_rows(
    deltas: Tensor, anchors: Tensor, index: Tensor, weights: list[float], scale_clamp: float
) -> Tensor:
    """Decode chosen rows of deltas (B, A, 4) on anchors (A, 4), index (B, k): (B, k, 4)."""
    chosen = deltas.gather(1, index[..., None].expand(-1, -1, 4))
    decoded = decode_boxes(
        chosen.reshape(-1, 4), anchors[index].reshape(-1, 4), weights, scale_clamp
    )
    return decoded.reshape(chosen.shape)


def take_rows(values: Tensor, index: Tensor, counted: Tensor) -> Tensor:
    """Choose rows (B, k) of values (B, N, C), zeros where they do not count: (B, k, C)."""
    chosen = values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))
    return torch.where(counted[..., None], chosen, 0.0)

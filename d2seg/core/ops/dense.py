"""Detections straight from dense predictions, without proposals (arXiv:1708.02002, section 4)."""

import torch
from torch import Tensor

from d2seg.core.ops.box_coding import decode_boxes
from d2seg.core.ops.nms import batched_nms


def flatten_levels(maps: Tensor, values: int) -> Tensor:
    """Bring maps (B, A * values, H, W) into anchor order: (B, H * W * A, values)."""
    batch, _, height, width = maps.shape
    grouped = maps.view(batch, -1, values, height, width)  # [B,A,V,H,W]
    return grouped.permute(0, 3, 4, 1, 2).reshape(batch, -1, values)


def best_candidates(
    scores: Tensor, score_thresh: float, topk: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Pick the highest scores of one level.

    Args:
        scores: (A, K) float, of A places and K classes.
        score_thresh: Scores must exceed this.
        topk: At most this many.

    Returns:
        scores (M,), places (M,) int64 and classes (M,) int64, by falling score.
    """
    candidates = torch.nonzero(scores > score_thresh)  # [M,2]: place, class
    values = scores[candidates[:, 0], candidates[:, 1]]
    best, index = values.topk(at_most(values.shape[0], topk))
    return best, candidates[index, 0], candidates[index, 1]


def select_dense_detections(
    scores: list[Tensor],
    deltas: list[Tensor],
    anchors: list[Tensor],
    weights: list[float],
    scale_clamp: float,
    score_thresh: float,
    topk_candidates: int,
    nms_thresh: float,
    topk: int,
    aten_only: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pick the detections of one image: best of each level, decoded, after NMS per class.

    Args:
        scores: Per level (A_l, K) float in [0, 1].
        deltas: Per level (A_l, 4) float, box deltas.
        anchors: Per level (A_l, 4) float, XYXY pixels.
        weights: Factors that the deltas carry.
        scale_clamp: Upper bound of dw and dh.
        score_thresh: Scores must exceed this.
        topk_candidates: How many pairs of box and class of each level enter NMS.
        nms_thresh: IoU above which the lower-scored box of the same class is dropped.
        topk: At most this many detections.
        aten_only: Use no torchvision operator.

    Returns:
        boxes (N, 4), XYXY pixels that may reach beyond the image, scores (N,) and classes (N,)
        int64, by falling score.
    """
    all_boxes: list[Tensor] = []
    all_scores: list[Tensor] = []
    all_classes: list[Tensor] = []
    for level in range(len(scores)):
        best, rows, classes = best_candidates(scores[level], score_thresh, topk_candidates)
        boxes = decode_boxes(deltas[level][rows], anchors[level][rows], weights, scale_clamp)
        all_boxes.append(boxes)
        all_scores.append(best)
        all_classes.append(classes)
    boxes = torch.cat(all_boxes)
    best = torch.cat(all_scores)
    classes = torch.cat(all_classes)
    keep = batched_nms(boxes, best, classes, nms_thresh, aten_only)[:topk]
    return boxes[keep], best[keep], classes[keep]


def at_most(count: int, limit: int) -> int:
    """Return the smaller of two numbers; in a trace the comparison is part of it."""
    if not torch.jit.is_scripting() and torch.jit.is_tracing():
        return torch.as_tensor(count).clamp(max=limit)  # type: ignore[return-value]
    return min(count, limit)

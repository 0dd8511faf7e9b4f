"""Non-maximum suppression: torchvision's operator, or the same result from ATen operators alone.

The ATen form exists for files that run where torchvision's operators are not registered (stock
phone runtimes). Both forms compute the IoU in the boxes' own precision and compare it with the
threshold in double precision, so they keep the same boxes, ties included.

Legend: N boxes in, K boxes kept, B boxes in one block.
"""

import torch
from torch import Tensor
from torchvision.ops import batched_nms as torchvision_batched_nms
from torchvision.ops import nms as torchvision_nms

from d2seg.core.ops.boxes import pairwise_iou


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, aten_only: bool = False) -> Tensor:
    """Keep the boxes that overlap no better kept box by more than a threshold.

    Args:
        boxes: (N, 4) float, XYXY absolute pixels.
        scores: (N,) float; of equal scores the one with the smaller index ranks higher.
        iou_threshold: A box is dropped when its IoU with a kept, higher-ranked box is above this.
        aten_only: Use ATen operators instead of torchvision's.

    Returns:
        (K,) int64 indices of the kept boxes, by falling score; (0,) for N = 0.
    """
    if aten_only:
        return _greedy_nms(boxes, scores, iou_threshold)
    return torchvision_nms(boxes, scores, iou_threshold)


def batched_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, aten_only: bool = False
) -> Tensor:
    """Run :func:`nms` within each group; boxes of different groups never suppress each other.

    Args:
        boxes: (N, 4) float, XYXY absolute pixels.
        scores: (N,) float.
        groups: (N,) int64; the class, the pyramid level or any other label of each box.
        iou_threshold: See :func:`nms`.
        aten_only: Use ATen operators instead of torchvision's.

    Returns:
        (K,) int64 indices of the kept boxes of all groups, by falling score; (0,) for N = 0.
    """
    if not aten_only:
        return torchvision_batched_nms(boxes, scores, groups, iou_threshold)
    kept = torch.zeros_like(groups, dtype=torch.bool)
    for group in torch.unique(groups):
        members = torch.nonzero(groups == group).squeeze(1)
        kept[members[_greedy_nms(boxes[members], scores[members], iou_threshold)]] = True
    survivors = torch.nonzero(kept).squeeze(1)
    return survivors[_rank(scores[survivors])]


def keep_best(boxes: Tensor, scores: Tensor, iou_threshold: float, lowest: float) -> Tensor:
    """Run :func:`nms` for each list of scores, and say which boxes are kept instead of naming them.

    Args:
        boxes: (G, N, 4) float, XYXY absolute pixels.
        scores: (G, C, N) float; C lists of scores for the same boxes, such as those of C classes.
        iou_threshold: See :func:`nms`.
        lowest: Boxes take part in a list where they score above this.

    Returns:
        (G, C, N) bool.
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for group in range(scores.shape[0]):
        for column in range(scores.shape[1]):
            members = torch.nonzero(scores[group, column] > lowest)[:, 0]
            ranked = scores[group, column, members]
            kept[group, column, members[nms(boxes[group, members], ranked, iou_threshold)]] = True
    return kept


def _greedy_nms(
    boxes: Tensor, scores: Tensor, iou_threshold: float, block_size: int = 256
) -> Tensor:
    """Return what greedy NMS keeps, one block of ranked boxes after the other.

    Each block is first freed of the boxes that an earlier block's kept boxes suppress, then solved
    by itself, so memory grows with N x block_size rather than with the square of N.
    """
    order = _rank(scores)
    ranked = boxes[order]
    kept = order[:0]
    for start in range(0, len(order), block_size):
        block = ranked[start : start + block_size]
        free = ~_overlaps(ranked[kept], block, iou_threshold).any(dim=0)
        candidates = torch.nonzero(free).squeeze(1)
        survivors = candidates[keep_in_order(_overlaps(block[free], block[free], iou_threshold))]
        kept = torch.cat([kept, survivors + start])
    return order[kept]


def keep_in_order(overlaps: Tensor) -> Tensor:
    """Solve ``keep[j] = no kept i < j overlaps j`` by iteration.

    After step k the first k entries no longer change, so it ends after at most B steps; in practice
    after as many as the longest chain of boxes that suppress each other in turn.

    Args:
        overlaps: (B, B) bool, boxes in falling rank.

    Returns:
        (B,) bool.
    """
    suppresses = torch.triu(overlaps, diagonal=1)
    keep = torch.ones_like(overlaps[:, 0]) if len(overlaps) > 0 else overlaps.flatten()
    changed = len(overlaps) > 1
    while changed:
        update = ~suppresses[keep].any(dim=0)
        changed = not torch.equal(update, keep)
        keep = update
    return keep


def _overlaps(first: Tensor, second: Tensor, iou_threshold: float) -> Tensor:
    """Tell which pairs have an IoU above the threshold: (M, 4), (N, 4) -> (M, N) bool."""
    # A threshold rounded to the precision of the boxes would decide exact ties differently.
    return pairwise_iou(first, second).to(torch.float64) > iou_threshold


def _rank(scores: Tensor) -> Tensor:
    return torch.sort(scores, stable=True, dim=0, descending=True)[1]

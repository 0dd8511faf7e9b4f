"""Proposals and detections of one image as lists of fixed length, with a mask of what counts.

The same choices as :mod:`d2seg.core.ops.proposals` and :mod:`d2seg.core.ops.detections` make, for
runtimes whose shapes may not depend on the image. What does not count is all zeros.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from d2seg.core.ops.box_coding import decode_boxes
from d2seg.core.ops.boxes import at_least, large_enough

Suppress = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From boxes (..., N, 4) in falling rank, usable (..., N) float and groups (..., N) or None to keep
(..., N) float, such as :class:`d2seg.export.static.stages.MatrixNms`."""

UNUSABLE = -1.0e30
"""The score of what must not be chosen; below every logit."""


def clip_to_limits(boxes: Tensor, limits: Tensor) -> Tensor:
    """Clip boxes to a size that is a tensor, out of place.

    Args:
        boxes: (..., 4) float, XYXY pixels.
        limits: (4,) float: width, height, width, height.
    """
    return boxes.clamp(min=0.0).minimum(limits)


def finite_rows(values: Tensor) -> Tensor:
    """Tell which rows of (..., C) have neither an Inf nor a NaN: (...) bool."""
    return values.abs().amax(dim=-1) <= torch.finfo(values.dtype).max


def select_fixed_proposals(
    logits: list[Tensor],
    deltas: list[Tensor],
    anchors: list[Tensor],
    limits: Tensor,
    weights: list[float],
    scale_clamp: float,
    suppress: Suppress,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    min_side: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Pick the proposals of one image: best of each level, decoded, clipped, after NMS per level.

    Args:
        logits: Per level (A_l,) float, objectness.
        deltas: Per level (A_l, 4) float, box deltas.
        anchors: Per level (A_l, 4) float, XYXY pixels.
        limits: (4,) float, the width and height of the image without padding, twice.
        weights: Factors that the deltas carry.
        scale_clamp: Upper bound of dw and dh.
        suppress: Non-maximum suppression.
        pre_nms_topk: How many boxes of each level enter it.
        post_nms_topk: How many boxes of all levels leave it.
        min_box_size: Boxes must be wider and higher than this, in pixels.
        min_side: Boxes must be at least this wide and high, in pixels.

    Returns:
        Boxes (P, 4) float XYXY pixels by falling logit and which of them count, (P,) bool.
    """
    length = min(pre_nms_topk, max(len(level) for level in logits))
    rows = [
        _best_of_level(*level, length, pre_nms_topk)
        for level in zip(logits, deltas, anchors, strict=True)
    ]
    best, best_deltas, best_anchors = (torch.cat(values) for values in zip(*rows, strict=True))
    decoded = decode_boxes(best_deltas, best_anchors, weights, scale_clamp)  # [L*T,4]
    finite = finite_rows(torch.cat([decoded, best[:, None]], dim=1))
    clipped = clip_to_limits(decoded, limits)
    usable = finite & large_enough(clipped, min_box_size, min_side) & (best > UNUSABLE)
    clipped = torch.where(usable[:, None], clipped, 0.0)
    levels = clipped.reshape(len(logits), length, 4)
    keep = suppress(levels, usable.to(clipped.dtype).reshape(len(logits), length), None)
    ranked = torch.where(keep.flatten() > 0, best, UNUSABLE)
    every = sum(min(pre_nms_topk, len(level)) for level in logits)
    best, index = ranked.topk(min(post_nms_topk, every))
    return clipped[index], best > UNUSABLE


def _best_of_level(
    logits: Tensor, deltas: Tensor, anchors: Tensor, length: int, topk: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the best of a level, and fill up to ``length`` with what must not be chosen.

    With the same length everywhere all levels are one batch for what follows: the graph has fewer
    nodes, and the time to lower it goes with them.
    """
    best, index = logits.topk(min(topk, len(logits)))
    missing = length - len(best)
    chosen = (best, deltas[index], anchors[index])
    if missing == 0:
        return chosen
    blank = torch.zeros(missing, 4, dtype=deltas.dtype, device=deltas.device)
    never = torch.full([missing], UNUSABLE, dtype=best.dtype, device=best.device)
    padded = zip(chosen, (never, blank, blank), strict=True)
    scores, moves, places = (torch.cat(pair) for pair in padded)
    return scores, moves, places


def select_fixed_detections(
    boxes: Tensor,
    probs: Tensor,
    counted: Tensor,
    limits: Tensor,
    score_thresh: float,
    suppress: Suppress,
    topk: int,
    num_candidates: int,
    min_side: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pick the detections of one image: scores above a threshold, NMS per class, the best of them.

    Only the best candidates enter NMS. That changes nothing as long as ``topk`` of them survive, or
    there are no others above the threshold.

    Args:
        boxes: (R, 4K) float, XYXY pixels for each class, or (R, 4) for all classes together.
        probs: (R, K + 1) float in [0, 1]; the last column is background and is ignored.
        counted: (R,) bool; other regions are ignored.
        limits: (4,) float, the width and height of the image without padding, twice.
        score_thresh: Scores must exceed this.
        suppress: Non-maximum suppression.
        topk: How many detections to return.
        num_candidates: How many regions and classes enter NMS, those with the highest scores.
        min_side: Boxes must be at least this wide and high, in pixels; 0 keeps empty ones too.

    Returns:
        boxes (D, 4), scores (D,), classes (D,) int64 by falling score, and which of them count,
        (D,) bool. Regions with a value that is not finite are left out.
    """
    num_classes = probs.shape[1] - 1
    usable = counted & finite_rows(torch.cat([boxes, probs], dim=1))  # [R]
    scores = torch.where(usable[:, None], probs[:, :-1], UNUSABLE).flatten()  # [R*K]
    best, index = scores.topk(min(num_candidates, len(scores)))
    # A tensor: quantisation would turn a number into a float.
    per_region = torch.tensor(num_classes, device=index.device)
    classes = index.remainder(per_region)
    if boxes.shape[1] == 4:
        index = index.div(per_region, rounding_mode="floor")
    chosen = clip_to_limits(boxes.reshape(-1, 4)[index], limits)
    above = best > score_thresh
    if min_side > 0:
        above = above & at_least(chosen, min_side)
    chosen = torch.where(above[:, None], chosen, 0.0)
    keep = suppress(chosen, above.to(chosen.dtype), classes if num_classes > 1 else None)
    return _best_of(chosen, torch.where(keep > 0, best, UNUSABLE), classes, topk)


def select_fixed_dense(
    logits: list[Tensor],
    deltas: list[Tensor],
    anchors: list[Tensor],
    limits: Tensor,
    weights: list[float],
    scale_clamp: float,
    score_thresh: float,
    suppress: Suppress,
    topk_candidates: int,
    topk: int,
    num_candidates: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pick the detections of one image from dense predictions, as ``select_dense_detections`` does.

    Only the best candidates of all levels enter NMS, see :func:`select_fixed_detections`.

    Args:
        logits: Per level (A_l, K) float; their sigmoid is the score.
        deltas: Per level (A_l, 4) float, box deltas.
        anchors: Per level (A_l, 4) float, XYXY pixels.
        limits: (4,) float, the width and height of the image without padding, twice.
        weights: Factors that the deltas carry.
        scale_clamp: Upper bound of dw and dh.
        score_thresh: Scores must exceed this.
        suppress: Non-maximum suppression.
        topk_candidates: How many pairs of a box and a class of each level are candidates.
        topk: How many detections to return.
        num_candidates: How many pairs of all levels enter NMS.

    Returns:
        boxes (D, 4) within the image, scores (D,), classes (D,) int64 by falling score, and which
        of them count, (D,) bool. A box that lies beside the image is empty and counts.
    """
    # A tensor: quantisation would turn a number into a float.
    per_place = torch.tensor(logits[0].shape[1], device=limits.device)
    rows = []
    for level, level_logits in enumerate(logits):
        flat = level_logits.flatten()
        best, index = flat.topk(min(topk_candidates, len(flat)))
        place = index.div(per_place, rounding_mode="floor")
        rows.append((best, index.remainder(per_place), deltas[level][place], anchors[level][place]))
    every, classes, moves, places = (torch.cat(values) for values in zip(*rows, strict=True))
    best, index = every.topk(min(num_candidates, len(every)))
    boxes = decode_boxes(moves[index], places[index], weights, scale_clamp)
    scores, classes = best.sigmoid(), classes[index]
    usable = (scores > score_thresh) & finite_rows(boxes)
    boxes = torch.where(usable[:, None], boxes, 0.0)
    keep = suppress(boxes, usable.to(boxes.dtype), classes if logits[0].shape[1] > 1 else None)
    # NMS saw the boxes as they are; what is beyond the image goes afterwards.
    ranked = torch.where(keep > 0, scores, UNUSABLE)
    return _best_of(clip_to_limits(boxes, limits), ranked, classes, topk)


def _best_of(
    boxes: Tensor, scores: Tensor, classes: Tensor, topk: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Take the best ``topk`` and blank those that must not be chosen."""
    best, index = scores.topk(min(topk, len(scores)))
    counted = best > UNUSABLE
    return (
        torch.where(counted[:, None], boxes[index], 0.0),
        torch.where(counted, best, 0.0),
        classes[index] * counted.to(torch.int64),
        counted,
    )

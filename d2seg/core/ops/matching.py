"""Which ground truth a box is trained on, and which boxes are trained on at all."""

from collections.abc import Callable

import torch
from torch import Tensor

from d2seg.core.ops.waiting import rows_of_groups


def match_boxes(
    iou: Tensor, thresholds: list[float], labels: list[int], allow_low_quality: bool
) -> tuple[Tensor, Tensor]:
    """Give each prediction its best ground truth and a label by how well they overlap.

    Args:
        iou: (M, N) float in [0, 1]; M ground-truth boxes against N predictions.
        thresholds: T rising IoU values that cut [0, 1] into T + 1 intervals, each closed below.
        labels: T + 1 labels, one for each interval: -1 ignore, 0 background, 1 object.
        allow_low_quality: Also label 1 every prediction that overlaps some ground truth as well as
            any prediction does (Faster R-CNN, section 3.1.2, condition i).

    Returns:
        matches (N,) int64, the row of the best ground truth (0 where M = 0), and labels (N,) int8.
    """
    num_ground_truth, num_predictions = iou.shape[0], iou.shape[1]
    if num_ground_truth == 0:
        matches = torch.zeros(num_predictions, dtype=torch.int64, device=iou.device)
        return matches, torch.full_like(matches, labels[0], dtype=torch.int8)
    best, matches = iou.max(dim=0)
    assigned = torch.full_like(matches, labels[0], dtype=torch.int8)
    for index, threshold in enumerate(thresholds):
        # Plain numbers: as tensors they would be copied to the device, which waits for it.
        assigned = assigned.masked_fill(best >= threshold, labels[index + 1])
    if allow_low_quality and num_predictions > 0:
        is_best_of_row = (iou == iou.max(dim=1, keepdim=True).values).any(dim=0)
        assigned = torch.where(is_best_of_row, torch.ones_like(assigned), assigned)
    return matches, assigned


def match_in_parts(
    iou_of: Callable[[int, int], Tensor],
    num_ground_truth: int,
    num_predictions: int,
    thresholds: list[float],
    labels: list[int],
    allow_low_quality: bool,
    pairs_at_once: int,
) -> tuple[Tensor, Tensor]:
    """Do what `match_boxes` does, without the IoUs of all pairs in memory.

    Args:
        iou_of: Computes the IoUs of a range of predictions, (M, stop - start) float; with
            ``allow_low_quality`` it is asked twice for those that may be the best of a row.
        num_ground_truth: M.
        num_predictions: N.
        thresholds: As of `match_boxes`, as are the next two.
        labels: There.
        allow_low_quality: There.
        pairs_at_once: At most so many IoUs are computed together.

    Returns:
        What `match_boxes` returns of all IoUs.
    """
    step = max(1, pairs_at_once // max(1, num_ground_truth))
    if num_predictions <= step:
        return match_boxes(iou_of(0, num_predictions), thresholds, labels, allow_low_quality)
    matches: list[Tensor] = []
    assigned: list[Tensor] = []
    bests: list[Tensor] = []
    for start in range(0, num_predictions, step):
        iou = iou_of(start, min(start + step, num_predictions))
        of_part = match_boxes(iou, thresholds, labels, False)
        matches.append(of_part[0])
        assigned.append(of_part[1])
        if allow_low_quality:
            bests.append(iou.max(dim=1).values)
    if allow_low_quality:
        best_of_parts = torch.stack(bests, dim=1)  # [M,parts]
        best = best_of_parts.max(dim=1, keepdim=True).values
        for part in torch.nonzero((best_of_parts == best).any(dim=0))[:, 0].tolist():
            start = part * step
            iou = iou_of(start, min(start + step, num_predictions))
            assigned[part].masked_fill_((iou == best).any(dim=0), 1)
    return torch.cat(matches), torch.cat(assigned)


def sample_labels(
    labels: Tensor, num_samples: int, positive_fraction: float, background: int
) -> tuple[Tensor, Tensor]:
    """Draw a random subset of objects and background.

    Args:
        labels: (N,) integer; -1 is never drawn, ``background`` is negative, all others positive.
        num_samples: How many to draw in all; fewer where there are not enough.
        positive_fraction: At most this share of them is positive; negatives fill the rest.
        background: The label of negatives.

    Returns:
        Indices of the positives and of the negatives, (P,) and (Q,) int64, in random order.
    """
    groups = (labels != background).to(torch.int8)  # 0 negative, 1 positive
    negative, positive = rows_of_groups(groups.masked_fill(labels == -1, 2), 2)
    num_positive = min(positive.numel(), int(num_samples * positive_fraction))
    num_negative = min(negative.numel(), num_samples - num_positive)
    return _draw(positive, num_positive), _draw(negative, num_negative)


def _draw(candidates: Tensor, count: int) -> Tensor:
    return candidates[torch.randperm(candidates.numel(), device=candidates.device)[:count]]

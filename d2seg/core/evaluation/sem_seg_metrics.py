"""Counting pixels of semantic segmentation, and metrics from the counts.

Legend: C classes, H and W the size of an image in pixels.
"""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["boundary_map", "count_pairs", "sem_seg_metrics"]


def count_pairs(annotated: np.ndarray, predicted: np.ndarray, num_labels: int) -> np.ndarray:
    """Count how often each label was predicted where each was annotated.

    Args:
        annotated: Labels in [0, num_labels), of any shape.
        predicted: The same.
        num_labels: How many labels there are.

    Returns:
        (num_labels, num_labels) int64, [annotated, predicted].
    """
    pairs = annotated.astype(np.int64).reshape(-1) * num_labels + predicted.reshape(-1)
    counts = np.bincount(pairs, minlength=num_labels**2)
    return counts.reshape(num_labels, num_labels)


def boundary_map(labels: np.ndarray, dilation_ratio: float = 0.02) -> np.ndarray:
    """Find the pixels near the boundary of their segment (Boundary IoU, arXiv:2103.16562).

    Args:
        labels: (H, W) int.
        dilation_ratio: What counts as near, as a share of the image's diagonal.

    Returns:
        (H, W) bool: another label, or the end of the image, is near.
    """
    distance = max(1, round(dilation_ratio * math.hypot(*labels.shape)))
    padded = np.pad(labels.astype(np.int64), 1, constant_values=-1)
    beside_other = np.zeros(labels.shape, bool)
    height, width = labels.shape
    for y in range(3):
        for x in range(3):
            beside_other |= padded[y : y + height, x : x + width] != labels
    # Whatever is near another label is near a pixel of its own label that touches another one.
    return _spread(_spread(beside_other, distance - 1).T, distance - 1).T


def sem_seg_metrics(
    counts: np.ndarray, boundary_counts: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """Turn counts of pixels into metrics.

    Args:
        counts: (C, C), [annotated, predicted].
        boundary_counts: (C + 1, C + 1), the same for pixels near a boundary; those that are not
            have the label C.
        class_names: C names.

    Returns:
        In percent ``mIoU``, ``fwIoU``, for each class ``IoU-``, ``BoundaryIoU-`` and the lesser of
        the two, ``mACC``, ``pACC`` and for each class ``ACC-``. Classes that are never annotated
        are nan and left out of the means.
    """
    annotated, right = counts.sum(axis=1), np.diagonal(counts)
    occurs = annotated > 0
    accuracy = _percent(right, annotated, occurs)
    iou = _iou(counts, occurs)
    boundary_iou = _iou(boundary_counts, np.append(occurs, False))[:-1]
    weights = annotated[occurs] / max(annotated.sum(), 1)
    metrics = {
        "mIoU": _mean(iou[occurs]),
        "fwIoU": float((iou[occurs] * weights).sum()) if occurs.any() else float("nan"),
    }
    for index, name in enumerate(class_names):
        metrics[f"IoU-{name}"] = float(iou[index])
        metrics[f"BoundaryIoU-{name}"] = float(boundary_iou[index])
        metrics[f"min(IoU, B-Iou)-{name}"] = float(min(iou[index], boundary_iou[index]))
    metrics["mACC"] = _mean(accuracy[occurs])
    metrics["pACC"] = 100 * float(right.sum() / annotated.sum()) if occurs.any() else float("nan")
    metrics.update(
        {f"ACC-{name}": float(value) for name, value in zip(class_names, accuracy, strict=True)}
    )
    return metrics


def _spread(marked: np.ndarray, distance: int) -> np.ndarray:
    """Mark what is at most ``distance`` rows from a marked pixel."""
    padded = np.pad(marked, ((distance + 1, distance), (0, 0)))
    so_far = np.cumsum(padded, axis=0, dtype=np.int32)
    return so_far[2 * distance + 1 :] > so_far[: -2 * distance - 1]


def _iou(counts: np.ndarray, where: np.ndarray) -> np.ndarray:
    right = np.diagonal(counts)
    return _percent(right, counts.sum(axis=1) + counts.sum(axis=0) - right, where)


def _percent(part: np.ndarray, whole: np.ndarray, where: np.ndarray) -> np.ndarray:
    usable = where & (whole > 0)
    return 100 * np.divide(part, whole, out=np.full(part.shape, np.nan), where=usable)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")

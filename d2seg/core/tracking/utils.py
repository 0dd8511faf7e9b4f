"""Pairs of boxes of two frames."""

from typing import Any

import numpy as np

from d2seg.core.structures import Instances


def create_prediction_pairs(
    instances: Instances,
    prev_instances: Instances,
    iou_all: np.ndarray,
    threshold: float = 0.5,
) -> list[dict[str, Any]]:
    """List the pairs of boxes that overlap well.

    Args:
        instances: N objects of this frame.
        prev_instances: M objects of the last one, with ``ID`` and ``ID_period``.
        iou_all: (N, M), how well they overlap.
        threshold: Least overlap of a pair.

    Returns:
        For each pair ``idx`` and ``prev_idx``, rows of the two frames, ``prev_id``, ``IoU`` and
        ``prev_period``; by rows.
    """
    rows, previous_rows = np.nonzero(np.asarray(iou_all) >= threshold)
    return [
        {
            "idx": row,
            "prev_idx": before,
            "prev_id": prev_instances.ID[before],
            "IoU": float(iou_all[row, before]),
            "prev_period": prev_instances.ID_period[before],
        }
        for row, before in zip(rows.tolist(), previous_rows.tolist(), strict=True)
    ]

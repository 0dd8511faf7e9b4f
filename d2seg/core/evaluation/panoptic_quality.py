"""Panoptic quality (Kirillov et al. 2019, arXiv:1801.00868), counted image by image."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Tally", "add_tallies", "compare_segments", "panoptic_quality"]

VOID = 0
"""The id of pixels that belong to no segment."""


@dataclass
class Tally:
    """What was found of one category.

    Attributes:
        iou: Sum of the overlaps of the pairs that match.
        tp: How many pairs match.
        fp: How many predicted segments match nothing.
        fn: How many annotated segments match nothing.
    """

    iou: float = 0.0
    tp: int = 0
    fp: int = 0
    fn: int = 0

    def add(self, other: "Tally") -> None:
        """Add the counts of another one."""
        self.iou += other.iou
        self.tp += other.tp
        self.fp += other.fp
        self.fn += other.fn

    def qualities(self) -> tuple[float, float, float]:
        """Return panoptic, segmentation and recognition quality, in [0, 1]."""
        total = self.tp + 0.5 * self.fp + 0.5 * self.fn
        return self.iou / total, self.iou / max(self.tp, 1), self.tp / total


Tallies = dict[int, Tally]
"""By category id."""


def compare_segments(
    truth_ids: np.ndarray,
    truth_segments: Iterable[Mapping[str, Any]],
    predicted_ids: np.ndarray,
    predicted_segments: Iterable[Mapping[str, Any]],
) -> Tallies:
    """Match the segments of an image: same category and an overlap above one half (section 4.1).

    Pixels without annotation and crowds can be predicted as anything (section 4.2).

    Args:
        truth_ids: (H, W) int, the annotated segment of each pixel; 0 is none.
        truth_segments: ``id``, ``category_id`` and, optionally, ``iscrowd`` of each.
        predicted_ids: (H, W) int.
        predicted_segments: ``id`` and ``category_id`` of each; those without pixels do not count.

    Returns:
        For each category that occurs its tally.
    """
    shared = _shared_areas(truth_ids, predicted_ids)
    truth_area, predicted_area = _areas(truth_ids), _areas(predicted_ids)
    truth = {s["id"]: s for s in truth_segments if s["id"] in truth_area}
    predicted = {s["id"]: s for s in predicted_segments if s["id"] in predicted_area}
    tallies: Tallies = defaultdict(Tally)
    matched = set()
    for (truth_id, predicted_id), area in shared.items():
        if truth_id not in truth or predicted_id not in predicted:
            continue
        category = truth[truth_id]["category_id"]
        if truth[truth_id].get("iscrowd") or predicted[predicted_id]["category_id"] != category:
            continue
        free = shared.get((VOID, predicted_id), 0)
        union = truth_area[truth_id] + predicted_area[predicted_id] - area - free
        if 2 * area > union:
            tallies[category].add(Tally(iou=area / union, tp=1))
            matched |= {("truth", truth_id), ("predicted", predicted_id)}
    for truth_id, segment in truth.items():
        if not segment.get("iscrowd") and ("truth", truth_id) not in matched:
            tallies[segment["category_id"]].fn += 1
    for predicted_id, segment in predicted.items():
        ignored = shared.get((VOID, predicted_id), 0) + sum(
            shared.get((truth_id, predicted_id), 0)
            for truth_id, other in truth.items()
            if other.get("iscrowd") and other["category_id"] == segment["category_id"]
        )
        is_ignored = 2 * ignored > predicted_area[predicted_id]
        if not is_ignored and ("predicted", predicted_id) not in matched:
            tallies[segment["category_id"]].fp += 1
    return dict(tallies)


def add_tallies(parts: Iterable[Tallies]) -> Tallies:
    """Sum tallies by category."""
    total: Tallies = defaultdict(Tally)
    for part in parts:
        for category, tally in part.items():
            total[category].add(tally)
    return dict(total)


def panoptic_quality(tallies: Tallies, is_thing: Mapping[int, bool]) -> dict[str, float]:
    """Average over categories, those that never occur left out.

    Args:
        tallies: By category id.
        is_thing: For each category that counts whether it is a thing.

    Returns:
        ``PQ``, ``SQ`` and ``RQ``, then those of things (``_th``) and of stuff (``_st``), in
        percent; nan where nothing occurs.
    """
    metrics = {}
    for suffix, kinds in (("", (True, False)), ("_th", (True,)), ("_st", (False,))):
        rows = [
            tally.qualities()
            for category, tally in tallies.items()
            if is_thing[category] in kinds and tally.tp + tally.fp + tally.fn
        ]
        means = 100 * np.mean(rows, axis=0) if rows else np.full(3, np.nan)
        for name, value in zip(("PQ", "SQ", "RQ"), means, strict=True):
            metrics[f"{name}{suffix}"] = float(value)
    return metrics


def _shared_areas(truth_ids: np.ndarray, predicted_ids: np.ndarray) -> dict[tuple[int, int], int]:
    """Count the pixels of each pair of an annotated and a predicted segment."""
    pairs = np.stack([truth_ids.reshape(-1), predicted_ids.reshape(-1)], axis=1).astype(np.int64)
    # One number per pair sorts faster than rows; ids have three bytes.
    unique, counts = np.unique(pairs[:, 0] * (1 << 32) + pairs[:, 1], return_counts=True)
    return {
        divmod(pair, 1 << 32): count
        for pair, count in zip(unique.tolist(), counts.tolist(), strict=True)
    }


def _areas(ids: np.ndarray) -> dict[int, int]:
    unique, counts = np.unique(ids, return_counts=True)
    return dict(zip(unique.tolist(), counts.tolist(), strict=True))

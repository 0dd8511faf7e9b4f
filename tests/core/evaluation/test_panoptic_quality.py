"""Panoptic quality against its definition, written out with masks."""

from typing import Any

import numpy as np
import pytest

from d2seg.core.evaluation.panoptic_quality import (
    Tally,
    add_tallies,
    compare_segments,
    panoptic_quality,
)


def slow_comparison(
    truth_ids: np.ndarray, truth: list[Any], predicted_ids: np.ndarray, predicted: list[Any]
) -> dict[int, list[float]]:
    """Count [iou, tp, fp, fn] per category, mask by mask."""
    counts: dict[int, list[float]] = {}
    used = set()
    void = truth_ids == 0
    for p in predicted:
        mask = predicted_ids == p["id"]
        row = counts.setdefault(p["category_id"], [0.0, 0, 0, 0])
        ignored = void.copy()
        for t in truth:
            other = truth_ids == t["id"]
            if t["category_id"] == p["category_id"]:
                if t["iscrowd"]:
                    ignored |= other
                    continue
                iou = (mask & other).sum() / ((mask & ~void) | other).sum()
                if iou > 0.5:
                    row[0] += iou
                    row[1] += 1
                    used.add(("truth", t["id"]))
                    used.add(("predicted", p["id"]))
        if ("predicted", p["id"]) not in used and (mask & ignored).sum() <= mask.sum() / 2:
            row[2] += 1
    for t in truth:
        if not t["iscrowd"] and ("truth", t["id"]) not in used:
            counts.setdefault(t["category_id"], [0.0, 0, 0, 0])[3] += 1
    return {category: row for category, row in counts.items() if any(row)}


def random_image(seed: int) -> tuple[np.ndarray, list[Any], np.ndarray, list[Any]]:
    random = np.random.default_rng(seed)
    truth_ids = np.kron(random.integers(0, 7, (4, 5)), np.ones((6, 8), np.int64))
    predicted_ids = np.roll(truth_ids, random.integers(0, 4, 2), (0, 1))
    predicted_ids = np.where(random.random(truth_ids.shape) < 0.1, 3, predicted_ids)
    truth = [
        {"id": int(i), "category_id": int(i) % 3, "iscrowd": int(i == 6)}
        for i in np.unique(truth_ids)
        if i
    ]
    predicted = [
        {"id": int(i), "category_id": int(i + (i == 5)) % 3} for i in np.unique(predicted_ids) if i
    ]
    return truth_ids, truth, predicted_ids, predicted


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_the_definition(seed: int) -> None:
    image = random_image(seed)
    found = {c: [t.iou, t.tp, t.fp, t.fn] for c, t in compare_segments(*image).items()}
    expected = slow_comparison(*image)
    assert sorted(found) == sorted(expected)
    for category, row in expected.items():
        assert found[category] == pytest.approx(row)


def test_all_kinds_of_outcomes_occur() -> None:
    total = add_tallies(compare_segments(*random_image(seed)) for seed in range(20))
    for tally in total.values():
        assert min(tally.iou, tally.tp, tally.fp, tally.fn) > 0


def test_qualities_by_hand() -> None:
    tallies = {1: Tally(iou=1.5, tp=2, fp=1, fn=1), 2: Tally(fn=3), 7: Tally(iou=0.8, tp=1)}
    metrics = panoptic_quality(tallies, {1: True, 2: True, 7: False, 9: False})
    # Category 1: PQ 1.5 / 3, SQ 0.75, RQ 2 / 3. Category 9 never occurs.
    assert metrics == pytest.approx(
        {
            "PQ": 100 * (0.5 + 0 + 0.8) / 3,
            "SQ": 100 * (0.75 + 0 + 0.8) / 3,
            "RQ": 100 * (2 / 3 + 0 + 1) / 3,
            "PQ_th": 25.0,
            "SQ_th": 37.5,
            "RQ_th": 100 / 3,
            "PQ_st": 80.0,
            "SQ_st": 80.0,
            "RQ_st": 100.0,
        }
    )


def test_no_segments_are_nan() -> None:
    assert all(np.isnan(value) for value in panoptic_quality({}, {1: True}).values())
    empty = np.zeros((2, 3), np.int64)
    assert compare_segments(empty, [], empty, [{"id": 4, "category_id": 1}]) == {}

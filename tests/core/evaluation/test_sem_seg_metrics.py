"""Counts of pixels and metrics of semantic segmentation, against slow references."""

import numpy as np
import pytest

from d2seg.core.evaluation.sem_seg_metrics import boundary_map, count_pairs, sem_seg_metrics


def slow_boundary_map(labels: np.ndarray, distance: int) -> np.ndarray:
    """Look at the square around every pixel."""
    padded = np.pad(labels, distance, constant_values=-1)
    near = np.zeros(labels.shape, bool)
    for y, x in np.ndindex(labels.shape):
        around = padded[y : y + 2 * distance + 1, x : x + 2 * distance + 1]
        near[y, x] = (around != labels[y, x]).any()
    return near


@pytest.mark.parametrize(("ratio", "distance"), [(0.0, 1), (0.05, 3), (0.08, 4)])
def test_boundaries_are_those_of_a_slow_search(ratio: float, distance: int) -> None:
    random = np.random.default_rng(0)
    labels = np.kron(random.integers(0, 3, (3, 5)), np.ones((11, 9), np.int64))  # 33 x 45
    assert round(ratio * np.hypot(*labels.shape)) in (0, distance)
    expected = slow_boundary_map(labels, distance)
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(boundary_map(labels, ratio), expected)


def test_pairs_are_annotated_by_predicted() -> None:
    counts = count_pairs(np.array([[0, 0], [1, 2]]), np.array([[0, 2], [1, 1]]), 3)
    assert counts.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]


def test_boundary_iou_counts_pixels_near_both_boundaries() -> None:
    counts = np.array([[90, 10], [0, 100]])
    # Near the boundary: of class 0 4 pixels in both, 6 annotated and 1 predicted only.
    boundary_counts = np.array([[4, 0, 6], [0, 8, 0], [1, 0, 181]])
    metrics = sem_seg_metrics(counts, boundary_counts, ["a", "b"])
    assert metrics["IoU-a"] == pytest.approx(90)
    assert metrics["BoundaryIoU-a"] == pytest.approx(100 * 4 / 11)
    assert metrics["min(IoU, B-Iou)-a"] == pytest.approx(100 * 4 / 11)
    assert metrics["BoundaryIoU-b"] == pytest.approx(100)
    assert metrics["min(IoU, B-Iou)-b"] == metrics["IoU-b"] == pytest.approx(100 * 100 / 110)

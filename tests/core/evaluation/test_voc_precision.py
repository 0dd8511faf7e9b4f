"""Pascal VOC's precision, recall and their average, by hand."""

import math

import numpy as np
import pytest

from d2seg.core.evaluation.voc_precision import (
    VocObjects,
    average_precision,
    match_detections,
    pixel_iou,
)

TRUTH = {
    "a": VocObjects(np.array([[1.0, 1, 10, 20], [31, 1, 40, 20]]), np.array([False, False])),
    "b": VocObjects(np.array([[1.0, 1, 10, 20]]), np.array([True])),
    "c": VocObjects(np.zeros((0, 4)), np.zeros(0, bool)),
}


def test_boxes_count_whole_pixels() -> None:
    overlaps = pixel_iou(np.array([1.0, 1, 4, 2]), np.array([[3.0, 1, 6, 2], [5, 1, 6, 2]]))
    # 2 of 4 columns of 2 rows are shared: 4 of 12 pixels.
    assert overlaps.tolist() == pytest.approx([1 / 3, 0])


def test_precision_and_recall_after_each_detection() -> None:
    exact = [1.0, 1, 10, 20]
    detections = [
        ("a", 0.9, exact),  # right
        ("a", 0.8, exact),  # the same object again: wrong
        ("b", 0.7, exact),  # difficult: neither
        ("c", 0.6, exact),  # an image without objects: wrong
        ("a", 0.5, [31.0, 1, 40, 13]),  # 13 of 20 rows: right at 0.5 only
    ]
    images, scores, boxes = zip(*detections, strict=True)
    precision, recall = match_detections(images, np.array(scores), np.array(boxes), TRUTH, 0.5)
    assert precision.tolist() == pytest.approx([1, 1 / 2, 1 / 2, 1 / 3, 2 / 4])
    assert recall.tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5, 1.0])
    assert average_precision(precision, recall) == pytest.approx(0.5 * 1 + 0.5 * 0.5)
    # Recall 0.0 ... 0.5 are 6 positions with precision 1, the other 5 have 0.5.
    assert average_precision(precision, recall, use_07_metric=True) == pytest.approx(8.5 / 11)
    _, strict_recall = match_detections(images, np.array(scores), np.array(boxes), TRUTH, 0.65)
    assert strict_recall.tolist() == [0.5] * 5


def test_detections_are_taken_best_first() -> None:
    boxes = np.array([[50.0, 50, 60, 60], [1, 1, 10, 20]])
    precision, recall = match_detections(["a", "a"], np.array([0.1, 0.2]), boxes, TRUTH, 0.5)
    assert precision.tolist() == [1.0, 0.5] and recall.tolist() == [0.5, 0.5]


def test_nothing_found_and_nothing_to_find() -> None:
    none = np.zeros(0)
    assert average_precision(none, none) == average_precision(none, none, True) == 0.0
    only_difficult = {"b": TRUTH["b"]}
    box = np.array([[1.0, 1, 10, 20]])
    precision, recall = match_detections(["b"], np.array([0.5]), box, only_difficult, 0.5)
    assert math.isnan(average_precision(precision, recall))

"""Which class is taken for which."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from d2seg.report.evaluation.matching import JudgedImage, Verdict


class ConfusedPair(NamedTuple):
    """How many objects of one class are detected as another; ``share`` is of all of that class."""

    truth: int
    detected: int
    objects: int
    share: float


def confusion_matrix(images: Iterable[JudgedImage], category_ids: Sequence[int]) -> np.ndarray:
    """Count objects by what they are and what they were detected as.

    Args:
        images: What ``judge_images`` gave.
        category_ids: The K categories, in the order of the rows.

    Returns:
        (K + 1, K + 1) int64. Rows are annotated classes, columns detected ones; the last row is
        background (false positives), the last column background (misses), their corner 0. What is
        ignored is not counted, so that a row sums to the objects of its class and a column to its
        detections.
    """
    places = {category_id: index for index, category_id in enumerate(category_ids)}
    background = len(places)
    matrix = np.zeros((background + 1, background + 1), dtype=np.int64)
    for image in images:
        for item, verdict, other in image.objects:
            row = places[item["category_id"]]
            if verdict is Verdict.CORRECT:
                matrix[row, row] += 1
            elif verdict is not Verdict.IGNORED:
                matrix[row, background if other is None else places[other]] += 1
        for item, verdict, _ in image.detections:
            if verdict is Verdict.FALSE:
                matrix[background, places[item["category_id"]]] += 1
    return matrix


def most_confused(matrix: np.ndarray, limit: int) -> list[ConfusedPair]:
    """Return the pairs of classes that are confused most often, background aside.

    Args:
        matrix: (K + 1, K + 1), as :func:`confusion_matrix` gives it.
        limit: At most so many pairs.

    Returns:
        By falling count; ties in the order of the matrix. Classes are row and column indices.
    """
    confused = matrix[:-1, :-1].copy()
    np.fill_diagonal(confused, 0)
    objects = matrix[:-1].sum(axis=1)
    order = np.argsort(-confused, axis=None, kind="stable")[:limit]
    pairs = np.stack(np.unravel_index(order, confused.shape), axis=1).tolist()
    return [
        ConfusedPair(truth, detected, number, number / int(objects[truth]))
        for truth, detected in pairs
        if (number := int(confused[truth, detected])) > 0
    ]


def class_counts(matrix: np.ndarray) -> list[tuple[int, int, int]]:
    """Return for each class the number of objects, of detections, and of correct ones."""
    objects, detections = matrix.sum(axis=1), matrix.sum(axis=0)
    correct = matrix.diagonal()
    return [
        (int(objects[index]), int(detections[index]), int(correct[index]))
        for index in range(len(matrix) - 1)
    ]

"""All that the page and the JSON report tell, measured once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pycocotools.coco import COCO

from d2seg.report.evaluation.confusion import class_counts, confusion_matrix
from d2seg.report.evaluation.inputs import index_detections
from d2seg.report.evaluation.matching import JudgedImage, judge_images
from d2seg.report.evaluation.scores import (
    Measurement,
    ScoreCurve,
    f_scores,
    measure,
    score_curve,
)


class ClassFigures(NamedTuple):
    """What was measured of one class; percent, nan where it is undefined.

    ``detections``, ``precision`` and ``recall`` are of the detections from the threshold on, at
    IoU 0.5.
    """

    id: int
    name: str
    objects: int
    detections: int
    ap: float
    ap50: float
    ap75: float
    precision: float
    recall: float


@dataclass
class Evaluation:
    """Detections measured against annotations.

    Attributes:
        ground_truth: The annotations.
        iou_type: ``bbox`` or ``segm``.
        measurement: pycocotools' figures.
        curve: All detections by score.
        threshold: The score from which on detections count in what follows.
        threshold_is_best: Whether it is the one of highest F1; else it was given.
        images: Every image judged.
        matrix: (K + 1, K + 1) confusion matrix.
    """

    ground_truth: COCO
    iou_type: str
    measurement: Measurement
    curve: ScoreCurve
    threshold: float
    threshold_is_best: bool
    images: list[JudgedImage]
    matrix: np.ndarray

    @property
    def class_names(self) -> list[str]:
        """The K names, in the order of the category ids."""
        return [str(self.ground_truth.cats[id_]["name"]) for id_ in self.measurement.category_ids]

    def class_figures(self) -> list[ClassFigures]:
        """Return the figures of each class, in the order of the category ids."""
        figures = []
        counts = class_counts(self.matrix)
        for index, (objects, detections, correct) in enumerate(counts):
            ap = self.measurement.class_precision(index)
            shares = f_scores(correct, detections - correct, objects - correct)
            figures.append(
                ClassFigures(
                    self.measurement.category_ids[index],
                    self.class_names[index],
                    objects,
                    detections,
                    ap["AP"],
                    ap["AP50"],
                    ap["AP75"],
                    100 * shares[0],
                    100 * shares[1],
                )
            )
        return figures


def evaluate(
    ground_truth: COCO,
    detections: Sequence[Mapping[str, Any]],
    iou_type: str,
    score_threshold: float | None = None,
) -> Evaluation:
    """Measure detections.

    Args:
        ground_truth: The annotations; pycocotools turns polygons in it into masks.
        detections: COCO results.
        iou_type: ``bbox`` or ``segm``.
        score_threshold: From which score on detections count where it is a matter of yes or no;
            None for the one of highest F1.

    Raises:
        ValueError: The detections do not fit the annotations.
    """
    measurement = measure(
        ground_truth, index_detections(detections, ground_truth, iou_type), iou_type
    )
    curve = score_curve(measurement.coco_eval)
    threshold = curve.best_threshold() if score_threshold is None else score_threshold
    images = judge_images(measurement.coco_eval, threshold)
    matrix = confusion_matrix(images, measurement.category_ids)
    return Evaluation(
        ground_truth,
        iou_type,
        measurement,
        curve,
        threshold,
        score_threshold is None,
        images,
        matrix,
    )

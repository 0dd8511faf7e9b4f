"""COCO's figures through pycocotools, and precision and recall at every score.

Legend: T IoU thresholds (0.50 to 0.95), R recall positions (0 to 1), K categories, A size ranges,
M limits of detections per image.
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SUMMARY_NAMES = (
    "AP",
    "AP50",
    "AP75",
    "APs",
    "APm",
    "APl",
    "AR1",
    "AR10",
    "AR",
    "ARs",
    "ARm",
    "ARl",
)
"""The twelve figures of ``COCOeval.stats``, in its order."""

MATCH_IOU = 0.5
"""The overlap from which a detection counts as found wherever it is a matter of yes or no."""
MATCH_INDEX = 0
"""The place of :data:`MATCH_IOU` in pycocotools' IoU thresholds."""


@dataclass
class Measurement:
    """What pycocotools measured.

    Attributes:
        coco_eval: After evaluate, accumulate and summarize.
        summary: Percent for each of :data:`SUMMARY_NAMES`, nan where there is nothing to measure.
        precision: (T, R, K) float in 0..1 for all sizes and 100 detections per image, nan where a
            category has no object.
    """

    coco_eval: COCOeval
    summary: dict[str, float]
    precision: np.ndarray

    @property
    def iou_thresholds(self) -> list[float]:
        """The T IoU thresholds."""
        return [round(float(threshold), 2) for threshold in self.coco_eval.params.iouThrs]

    @property
    def recalls(self) -> np.ndarray:
        """The R recall positions."""
        return np.asarray(self.coco_eval.params.recThrs)

    @property
    def category_ids(self) -> list[int]:
        """The K category ids, in order."""
        return [int(category_id) for category_id in self.coco_eval.params.catIds]

    def class_precision(self, index: int) -> dict[str, float]:
        """Return AP, AP50 and AP75 of the ``index``-th category, in percent."""
        of_class = self.precision[:, :, index]
        thresholds = self.iou_thresholds
        return {
            "AP": _percent(of_class),
            "AP50": _percent(of_class[thresholds.index(0.5)]),
            "AP75": _percent(of_class[thresholds.index(0.75)]),
        }

    def mean_precision(self) -> np.ndarray:
        """Average over the categories that have objects: (T, R) float; nan if none has."""
        measured = ~np.isnan(self.precision).all(axis=(0, 1))
        if not measured.any():
            return np.full(self.precision.shape[:2], np.nan)
        return np.asarray(self.precision[:, :, measured].mean(axis=2))


def measure(ground_truth: COCO, detections: COCO, iou_type: str) -> Measurement:
    """Run pycocotools.

    Args:
        ground_truth: The annotations; pycocotools turns polygons in it into masks.
        detections: What ``index_detections`` made.
        iou_type: ``bbox`` or ``segm``.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        coco_eval = COCOeval(ground_truth, detections, iou_type)
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
    summary = {
        name: float(100 * value) if value > -1 else float("nan")
        for name, value in zip(SUMMARY_NAMES, coco_eval.stats, strict=True)
    }
    precision = coco_eval.eval["precision"][:, :, :, 0, -1]
    return Measurement(coco_eval, summary, np.where(precision > -1, precision, np.nan))


def class_image_results(coco_eval: COCOeval) -> Iterator[dict[str, Any]]:
    """Yield pycocotools' matches of each category in each image that has any, for all sizes."""
    params = coco_eval.params
    num_images, num_sizes = len(params.imgIds), len(params.areaRng)
    for category in range(len(params.catIds)):
        start = category * num_sizes * num_images
        yield from filter(None, coco_eval.evalImgs[start : start + num_images])


@dataclass
class ScoreCurve:
    """Detections of all classes by score, each right or wrong at IoU 0.5 by pycocotools' matching.

    Attributes:
        scores: (N,) float, descending; detections on crowds are left out, as COCO does.
        correct: (N,) bool.
        num_objects: Objects to be found.
    """

    scores: np.ndarray
    correct: np.ndarray
    num_objects: int

    def best_threshold(self) -> float:
        """Return the score from which on F1 is highest; 0 if no detection is correct."""
        if not self.correct.any():
            return 0.0
        hits, number = np.cumsum(self.correct), np.arange(1, len(self.scores) + 1)
        f1 = 2 * hits / (number + self.num_objects)
        # A threshold takes all detections of one score or none of them.
        f1[:-1][self.scores[1:] == self.scores[:-1]] = -1
        return float(self.scores[f1.argmax()])

    def at(self, threshold: float) -> tuple[float, float, float]:
        """Return precision, recall and F1 (0..1) of the detections from a score on.

        Each is nan where it is undefined: precision without detections, recall without objects.
        """
        number = int((self.scores >= threshold).sum())
        hits = int(self.correct[:number].sum())
        return f_scores(hits, number - hits, self.num_objects - hits)


def score_curve(coco_eval: COCOeval) -> ScoreCurve:
    """Collect the detections that pycocotools judged."""
    scores, correct, num_objects = [np.empty(0)], [np.empty(0, dtype=bool)], 0
    for result in class_image_results(coco_eval):
        counted = ~result["dtIgnore"][MATCH_INDEX].astype(bool)
        scores.append(np.asarray(result["dtScores"], dtype=float)[counted])
        correct.append(result["dtMatches"][MATCH_INDEX][counted] > 0)
        num_objects += int((np.asarray(result["gtIgnore"]) == 0).sum())
    all_scores, all_correct = np.concatenate(scores), np.concatenate(correct)
    order = np.argsort(-all_scores, kind="mergesort")
    return ScoreCurve(all_scores[order], all_correct[order], num_objects)


def f_scores(correct: int, wrong: int, missed: int) -> tuple[float, float, float]:
    """Return precision, recall and F1 (0..1), nan where nothing was detected or nothing is there.

    Args:
        correct: Objects found.
        wrong: Detections that are no such object.
        missed: Objects not found.
    """
    precision = _ratio(correct, correct + wrong)
    recall = _ratio(correct, correct + missed)
    return precision, recall, _ratio(2 * correct, 2 * correct + wrong + missed)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _percent(precision: np.ndarray) -> float:
    # Flat and in C order: the order of the summands decides the last digit.
    return (
        float(100 * np.ravel(precision).mean()) if not np.isnan(precision).any() else float("nan")
    )

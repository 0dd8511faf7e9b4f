"""Average precision of instances as Cityscapes defines it.

An object's pixels have its label id times 1000 plus its number; those of a group of objects that
are not told apart have the label id alone.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from d2seg.core.data.datasets.cityscapes_labels import CITYSCAPES_LABELS

__all__ = ["IOU_THRESHOLDS", "Outcomes", "average_precision", "compare_instances"]

IOU_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
MIN_OBJECT_AREA = 100
"""In pixels; smaller objects may be found or not."""

_INSTANCE_DIVISOR = 1000
_COUNTED_LABELS = frozenset(label.id for label in CITYSCAPES_LABELS)

Verdict = tuple[float, bool]
"""The score of a detection, and whether it is right."""


@dataclass
class Outcomes:
    """What became of the detections of a label.

    Attributes:
        num_objects: How many objects there are to find.
        verdicts: By threshold, those of all detections that count.
    """

    num_objects: int = 0
    verdicts: dict[float, list[Verdict]] = field(default_factory=lambda: defaultdict(list))

    def add(self, other: "Outcomes") -> None:
        """Add those of other images."""
        self.num_objects += other.num_objects
        for threshold, verdicts in other.verdicts.items():
            self.verdicts[threshold] += verdicts


@dataclass
class _Detection:
    """A detection and what is annotated below it."""

    score: float
    iou: dict[int, float]
    """With each annotated segment of its label that it touches."""
    ignored: float
    """The share of it that lies on nothing that counts."""


def compare_instances(
    truth_ids: np.ndarray, label_id: int, masks: np.ndarray, scores: Iterable[float]
) -> Outcomes:
    """Match the detections and objects of one label in one image.

    An object is found by the best of the detections that overlap it more than the threshold; the
    others are wrong. A detection that finds nothing is left out if it matches a group or a small
    object, or if more of it than the threshold lies on these or on labels that do not count.

    Args:
        truth_ids: (H, W) int, as in ``instanceIds`` images.
        label_id: As in ``labelIds`` images.
        masks: (N, H, W) bool, the detections of this label.
        scores: N numbers.
    """
    areas = _areas(truth_ids)
    objects = {
        id_
        for id_, area in areas.items()
        if id_ // _INSTANCE_DIVISOR == label_id and area >= MIN_OBJECT_AREA
    }
    detections = [
        _describe(truth_ids[mask], score, label_id, areas, objects)
        for mask, score in zip(masks.astype(bool), scores, strict=True)
        if mask.any()
    ]
    outcomes = Outcomes(num_objects=len(objects))
    for threshold in IOU_THRESHOLDS:
        outcomes.verdicts[threshold] += _judge(detections, objects, threshold)
    return outcomes


def average_precision(verdicts: Iterable[Verdict], num_objects: int) -> float:
    """Integrate precision over recall by the trapezoidal rule, from precision 1 at recall 0.

    Args:
        verdicts: Of all detections that count.
        num_objects: How many objects there are to find.

    Returns:
        In [0, 1]; nan if there is no object.
    """
    if num_objects == 0:
        return float("nan")
    found = np.array(sorted(verdicts, reverse=True), dtype=np.float64).reshape(-1, 2)
    right = np.cumsum(found[:, 1])
    # Detections of the same score are taken together.
    last = np.flatnonzero(np.diff(found[:, 0], append=-np.inf))
    precision = np.append(1.0, right[last] / (last + 1))
    recall = np.append(0.0, right[last] / num_objects)
    return float((np.diff(recall) * (precision[1:] + precision[:-1]) / 2).sum())


def _areas(ids: np.ndarray) -> dict[int, int]:
    """Return how many pixels each id has."""
    counts = np.bincount(ids.reshape(-1))
    present = np.flatnonzero(counts)
    return dict(zip(present.tolist(), counts[present].tolist(), strict=True))


def _describe(
    covered: np.ndarray, score: float, label_id: int, areas: dict[int, int], objects: set[int]
) -> _Detection:
    """Describe a detection by the truth ids of its pixels."""
    iou, ignored = {}, 0
    for id_, shared in _areas(covered).items():
        if id_ == label_id or id_ // _INSTANCE_DIVISOR == label_id:
            iou[id_] = shared / (areas[id_] + covered.size - shared)
            ignored += 0 if id_ in objects else shared
        elif id_ < _INSTANCE_DIVISOR and id_ not in _COUNTED_LABELS:
            ignored += shared
    return _Detection(score, iou, ignored / covered.size)


def _judge(detections: Iterable[_Detection], objects: set[int], threshold: float) -> list[Verdict]:
    claims: dict[int, list[float]] = defaultdict(list)
    verdicts: list[Verdict] = []
    for detection in detections:
        matched = [id_ for id_, iou in detection.iou.items() if iou > threshold]
        for id_ in objects.intersection(matched):
            claims[id_].append(detection.score)
        if not matched and detection.ignored <= threshold:
            verdicts.append((detection.score, False))
    for scores in claims.values():
        best, *others = sorted(scores, reverse=True)
        verdicts += [(best, True), *((score, False) for score in others)]
    return verdicts

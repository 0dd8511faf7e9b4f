"""Judge every object and every detection from a score on: found, missed, wrong class, wrong.

What is correct is pycocotools' matching at IoU 0.5, class by class. What that leaves over is
matched once more across classes, so that a dog taken for a cat is one confusion and not a miss and
a false positive.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

from d2seg.report.evaluation.inputs import RESULT_KEYS
from d2seg.report.evaluation.scores import MATCH_INDEX, MATCH_IOU, class_image_results, f_scores


class Verdict(str, Enum):
    """What became of an object or a detection."""

    CORRECT = "correct"
    CONFUSED = "wrong class"
    MISSED = "missed"
    FALSE = "false positive"
    IGNORED = "ignored"  # crowds, and what was detected on them


class Judged(NamedTuple):
    """An annotation or a detection, its verdict, and the category it was taken for or is in fact.

    ``other`` is None unless the verdict is CONFUSED.
    """

    item: dict[str, Any]
    verdict: Verdict
    other: int | None = None


@dataclass
class JudgedImage:
    """The objects and the detections of one image."""

    image_id: int
    objects: list[Judged] = field(default_factory=list)
    detections: list[Judged] = field(default_factory=list)

    def count(self, verdict: Verdict) -> int:
        """Count the objects (CORRECT, CONFUSED, MISSED) or detections (FALSE) judged so."""
        judged = self.detections if verdict is Verdict.FALSE else self.objects
        return sum(item.verdict is verdict for item in judged)

    @property
    def errors(self) -> int:
        """Objects missed or of another class, and false positives."""
        kinds = (Verdict.CONFUSED, Verdict.MISSED, Verdict.FALSE)
        return sum(self.count(kind) for kind in kinds)

    @property
    def f1(self) -> float:
        """F1 (0..1) in which a wrong class is a miss and a false positive; nan if all is empty."""
        confused = self.count(Verdict.CONFUSED)
        wrong, missed = self.count(Verdict.FALSE), self.count(Verdict.MISSED)
        return f_scores(self.count(Verdict.CORRECT), wrong + confused, missed + confused)[2]


def judge_images(coco_eval: COCOeval, threshold: float) -> list[JudgedImage]:
    """Judge the objects, and the detections from ``threshold`` on.

    Args:
        coco_eval: After evaluate.
        threshold: Detections of a lower score are left out; their objects are missed.

    Returns:
        One per image, in the order of the image ids. Detections beyond the best 100 of a category
        in an image are left out, as COCO does.
    """
    images = {image_id: JudgedImage(image_id) for image_id in coco_eval.params.imgIds}
    free: dict[int, tuple[list[dict[str, Any]], list[dict[str, Any]]]]
    free = defaultdict(lambda: ([], []))
    for result in class_image_results(coco_eval):
        image = images[result["image_id"]]
        objects, detections = _judge_class(image, result, coco_eval, threshold)
        free[image.image_id][0].extend(objects)
        free[image.image_id][1].extend(detections)
    for image_id, (objects, detections) in free.items():
        _judge_across_classes(images[image_id], objects, detections, coco_eval.params.iouType)
    return list(images.values())


def _judge_class(
    image: JudgedImage, result: dict[str, Any], coco_eval: COCOeval, threshold: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Note what pycocotools decided within a category; return the objects and detections left."""
    left: list[dict[str, Any]] = []
    found: set[int] = set()
    matches, ignored = result["dtMatches"][MATCH_INDEX], result["dtIgnore"][MATCH_INDEX]
    detections = coco_eval.cocoDt.loadAnns(result["dtIds"])
    for detection, match, ignore in zip(detections, matches, ignored, strict=True):
        if detection["score"] < threshold:
            continue
        if match or ignore:
            found.add(int(match))
            image.detections.append(Judged(detection, _settled(ignore)))
        else:
            left.append(detection)
    return _judge_objects(image, result, coco_eval, found), left


def _judge_objects(
    image: JudgedImage, result: dict[str, Any], coco_eval: COCOeval, found: set[int]
) -> list[dict[str, Any]]:
    """Note which objects of a category are found or ignored; return the others."""
    left = []
    objects = coco_eval.cocoGt.loadAnns(result["gtIds"])
    for item, ignore in zip(objects, result["gtIgnore"], strict=True):
        if ignore or item["id"] in found:
            image.objects.append(Judged(item, _settled(ignore)))
        else:
            left.append(item)
    return left


def _settled(ignored: bool) -> Verdict:
    return Verdict.IGNORED if ignored else Verdict.CORRECT


def _judge_across_classes(
    image: JudgedImage,
    objects: Sequence[dict[str, Any]],
    detections: Iterable[dict[str, Any]],
    iou_type: str,
) -> None:
    """Give each detection, best first, the free object of another class that it covers best."""
    ordered = sorted(detections, key=lambda detection: -detection["score"])
    overlaps = _overlaps(ordered, objects, RESULT_KEYS[iou_type])
    taken: dict[int, Judged] = {}
    for detection, overlap in zip(ordered, overlaps, strict=True):
        best = int(overlap.argmax()) if overlap.size else -1
        if best < 0 or overlap[best] < MATCH_IOU:
            image.detections.append(Judged(detection, Verdict.FALSE))
            continue
        overlaps[:, best] = 0
        item = objects[best]
        taken[best] = Judged(item, Verdict.CONFUSED, detection["category_id"])
        image.detections.append(Judged(detection, Verdict.CONFUSED, item["category_id"]))
    for index, item in enumerate(objects):
        image.objects.append(taken.get(index, Judged(item, Verdict.MISSED)))


def _overlaps(
    detections: Sequence[dict[str, Any]], objects: Sequence[dict[str, Any]], key: str
) -> np.ndarray:
    """Return IoUs (detections, objects), 0 for those of one class."""
    if not detections or not objects:
        return np.zeros((len(detections), len(objects)))
    ious = coco_mask.iou(
        [item[key] for item in detections], [item[key] for item in objects], [0] * len(objects)
    )
    classes = np.array([item["category_id"] for item in detections])
    others = np.array([item["category_id"] for item in objects])
    return np.where(classes[:, None] != others, ious, 0.0)

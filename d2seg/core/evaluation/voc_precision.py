"""Average precision as the Pascal VOC development kit defines it.

Legend: D detections of a class in all images, G its objects in one image. Boxes are XYXY, counted
from 1, and the last pixel is inside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["VocObjects", "average_precision", "match_detections", "pixel_iou"]


@dataclass
class VocObjects:
    """The objects of a class in one image.

    Attributes:
        boxes: (G, 4) float.
        difficult: (G,) bool; these may be found or not.
    """

    boxes: np.ndarray
    difficult: np.ndarray


def pixel_iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Compute the overlap of a box (4,) with boxes (G, 4), (G,) float in [0, 1]."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low + 1, 0, None).prod(axis=1)
    area = (box[2:] - box[:2] + 1).prod()
    return shared / (area + (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1) - shared)


def match_detections(
    image_ids: Sequence[str],
    scores: np.ndarray,
    boxes: np.ndarray,
    truth: Mapping[str, VocObjects],
    iou_threshold: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Find precision and recall after each detection, best first.

    A detection belongs to the object that it overlaps most, even if that one has been found; only
    the first one that overlaps it more than the threshold is right.

    Args:
        image_ids: D images.
        scores: (D,) float; equal ones stay in their order.
        boxes: (D, 4) float.
        truth: The objects of this class by image.
        iou_threshold: In [0, 1].

    Returns:
        precision (D,) and recall (D,), nan if no object counts.
    """
    num_objects = sum(int((~objects.difficult).sum()) for objects in truth.values())
    found = {image_id: np.zeros(len(one.boxes), bool) for image_id, one in truth.items()}
    is_right, is_wrong = np.zeros(len(scores)), np.zeros(len(scores))
    for rank, index in enumerate(np.argsort(-scores, kind="stable").tolist()):
        objects = truth.get(image_ids[index])
        if objects is None or len(objects.boxes) == 0:
            is_wrong[rank] = 1
            continue
        overlaps = pixel_iou(boxes[index], objects.boxes)
        best = int(overlaps.argmax())
        if overlaps[best] <= iou_threshold or found[image_ids[index]][best]:
            is_wrong[rank] = 1
        elif not objects.difficult[best]:
            is_right[rank] = 1
            found[image_ids[index]][best] = True
    right, wrong = is_right.cumsum(), is_wrong.cumsum()
    recall = right / num_objects if num_objects else np.full(len(scores), np.nan)
    return right / np.maximum(right + wrong, np.finfo(np.float64).eps), recall


def average_precision(
    precision: np.ndarray, recall: np.ndarray, use_07_metric: bool = False
) -> float:
    """Average the precision over recall.

    Args:
        precision: (D,) float.
        recall: (D,) float, not falling.
        use_07_metric: As in 2007: the mean of the best precision at recall 0.0, 0.1, ... 1.0 or
            more. Otherwise the area under the curve, made to fall.

    Returns:
        In [0, 1]; nan if recall is.
    """
    if len(recall) and np.isnan(recall).any():
        return float("nan")
    if use_07_metric:
        best = [precision[recall >= position].max(initial=0.0) for position in np.arange(11) / 10]
        return float(np.mean(best))
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * falling).sum())

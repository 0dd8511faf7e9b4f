"""Intersection over union as Cityscapes defines it, by class, by category and by instance."""

from collections.abc import Iterable

import numpy as np

from d2seg.core.data.datasets.cityscapes_labels import CITYSCAPES_LABELS

__all__ = ["SemanticCounts"]

_INSTANCE_DIVISOR = 1000

_CATEGORIES = {
    "flat": ("road", "sidewalk"),
    "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic light", "traffic sign"),
    "nature": ("vegetation", "terrain"),
    "sky": ("sky",),
    "human": ("person", "rider"),
    "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
}
_AVERAGE_AREA = {
    "person": 3462.4756337644,
    "rider": 3930.4788056518,
    "car": 12794.0202738185,
    "truck": 27855.1264367816,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "motorcycle": 6298.7200839748,
    "bicycle": 4672.3249222261,
}
"""Of the objects of a class in the data set, in pixels, as its authors give them."""

_NAMES = [label.name for label in CITYSCAPES_LABELS]
_NUM_CLASSES = len(_NAMES)
_INDEX_BY_ID = {label.id: index for index, label in enumerate(CITYSCAPES_LABELS)}
_MEMBERS = [[_NAMES.index(name) for name in names] for names in _CATEGORIES.values()]
_CATEGORY = {index: position for position, members in enumerate(_MEMBERS) for index in members}


class SemanticCounts:
    """Counts of pixels, image by image, and the metrics they give.

    Weighted by instance, every object of a class counts as much as an average one: small ones are
    as important as large ones.
    """

    def __init__(self) -> None:
        """Start with nothing counted."""
        # [annotated train id, predicted train id]
        self._pairs = np.zeros((_NUM_CLASSES, _NUM_CLASSES), np.int64)
        # By train id; what of the objects was found as their class, and as their category.
        self._num_objects = np.zeros(_NUM_CLASSES)
        self._found = np.zeros(_NUM_CLASSES)
        self._found_category = np.zeros(_NUM_CLASSES)

    def count(self, truth_ids: np.ndarray, predicted: np.ndarray) -> None:
        """Count an image.

        Args:
            truth_ids: (H, W) int, as in ``instanceIds`` images.
            predicted: (H, W) int train ids.

        Raises:
            ValueError: A prediction is no train id.
        """
        if predicted.size and not 0 <= predicted.min() <= predicted.max() < _NUM_CLASSES:
            raise ValueError(
                f"Predictions for Cityscapes are train ids from 0 to {_NUM_CLASSES - 1}; found "
                f"{predicted.min()} to {predicted.max()}."
            )
        # [id, predicted train id]
        covered = _count_labels(truth_ids, predicted)
        for id_ in np.flatnonzero(covered.any(axis=1)).tolist():
            is_object = id_ >= _INSTANCE_DIVISOR
            index = _INDEX_BY_ID.get(id_ // _INSTANCE_DIVISOR if is_object else id_)
            if index is None:
                continue
            self._pairs[index] += covered[id_]
            if is_object:
                share = covered[id_] / covered[id_].sum()
                self._num_objects[index] += 1
                self._found[index] += share[index]
                self._found_category[index] += share[_MEMBERS[_CATEGORY[index]]].sum()

    def add(self, others: Iterable["SemanticCounts"]) -> None:
        """Add the counts of other images."""
        for other in others:
            for name, value in vars(other).items():
                setattr(self, name, getattr(self, name) + value)

    def metrics(self) -> dict[str, float]:
        """Return the mean overlaps in percent; nan where there is nothing to measure.

        Returns:
            ``IoU`` of classes and ``iIoU`` of those weighted by instance; ``IoU_sup`` and
            ``iIoU_sup`` of categories.
        """
        categories = range(len(_MEMBERS))
        with_objects = [index for index, name in enumerate(_NAMES) if name in _AVERAGE_AREA]
        object_categories = sorted({_CATEGORY[index] for index in with_objects})
        return {
            "IoU": _mean_percent(self._overlap([index]) for index in range(_NUM_CLASSES)),
            "iIoU": _mean_percent(
                self._instance_overlap([index], self._found) for index in with_objects
            ),
            "IoU_sup": _mean_percent(self._overlap(_MEMBERS[c]) for c in categories),
            "iIoU_sup": _mean_percent(
                self._instance_overlap(_MEMBERS[c], self._found_category) for c in object_categories
            ),
        }

    def _overlap(self, members: list[int]) -> float:
        """Take classes together as one, and return its overlap."""
        right = self._pairs[np.ix_(members, members)].sum()
        annotated, predicted = self._pairs[members].sum(), self._pairs[:, members].sum()
        return _ratio(right, annotated + predicted - right)

    def _instance_overlap(self, members: list[int], found: np.ndarray) -> float:
        area = np.array([_AVERAGE_AREA[_NAMES[index]] for index in members])
        right = self._pairs[np.ix_(members, members)].sum()
        wrong = self._pairs[:, members].sum() - right
        return _ratio(
            (found[members] * area).sum(), (self._num_objects[members] * area).sum() + wrong
        )


def _count_labels(truth_ids: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Count how often each train id was predicted where each id is annotated: (ids, classes)."""
    pairs = truth_ids.reshape(-1) * _NUM_CLASSES + predicted.reshape(-1)
    num_ids = int(truth_ids.max(initial=0)) + 1
    return np.bincount(pairs, minlength=num_ids * _NUM_CLASSES).reshape(num_ids, _NUM_CLASSES)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _mean_percent(values: Iterable[float]) -> float:
    measured = [value for value in values if not np.isnan(value)]
    return 100 * float(np.mean(measured)) if measured else float("nan")

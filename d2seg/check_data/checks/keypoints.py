"""Checks of keypoints."""

from collections import Counter
from collections.abc import Iterator, Mapping

from d2seg.check_data import geometry
from d2seg.check_data.findings import Expectations, Finding, Severity, counted
from d2seg.check_data.records import AnnotationRecord, Dataset

VISIBILITIES = (0, 1, 2)
"""Not labelled, labelled but hidden, visible."""


def check_keypoint_names(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Compare the categories' keypoints with their annotations and with the model."""
    wanted, used = expected.num_keypoints, {a.category_id for a in data.annotations if a.keypoints}
    for category_id, category in data.categories_by_id.items():
        number = len(category.keypoints)
        if number == 0 and category_id in used:
            sentence = f"Category '{category.name}' does not name the keypoints of its annotations."
            yield Finding("note", "keypoints without names", sentence)
        elif wanted is not None and number != wanted:
            yield Finding(
                "error",
                "keypoints and NUM_KEYPOINTS",
                f"Category '{category.name}' has {counted(number, 'keypoint')}, the model "
                f"{wanted}; set MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS.",
            )


def check_keypoints(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Compare each annotation's keypoints with its category, its count and its image."""
    numbers = keypoint_numbers(data)
    for annotation in data.annotations:
        number = numbers.get(annotation.category_id, 0)
        if annotation.keypoints is None:
            if number:
                sentence = "has no usable keypoints, with which training keypoints stops."
                severity: Severity = "warning" if expected.num_keypoints is None else "error"
                yield data.about(annotation, severity, "keypoints missing", sentence)
        elif len(annotation.keypoints) != 3 * number:
            sentence = (
                f"has {len(annotation.keypoints)} numbers as keypoints; the {number} of its "
                f"category take {3 * number}."
            )
            yield data.about(annotation, "error", "keypoints of another number", sentence)
        else:
            yield from _check_values(data, annotation, annotation.keypoints)


def keypoint_numbers(data: Dataset) -> Mapping[int, int]:
    """Return how many keypoints each category has: as it names, else as most annotations have."""
    lengths: dict[int, Counter[int]] = {}
    for annotation in data.annotations:
        if annotation.keypoints:
            counts = lengths.setdefault(annotation.category_id, Counter())
            counts[len(annotation.keypoints) // 3] += 1
    numbers = {category_id: counts.most_common(1)[0][0] for category_id, counts in lengths.items()}
    named = {id_: len(c.keypoints) for id_, c in data.categories_by_id.items() if c.keypoints}
    return numbers | named


def count_labelled(keypoints: list[float]) -> int:
    """Return how many keypoints have a visibility other than 0."""
    return sum(flag != 0 for flag in keypoints[2::3])


def _check_values(
    data: Dataset, annotation: AnnotationRecord, keypoints: list[float]
) -> Iterator[Finding]:
    points = list(zip(keypoints[::3], keypoints[1::3], keypoints[2::3], strict=True))
    wrong = [flag for _, _, flag in points if flag not in VISIBILITIES]
    if wrong:
        sentence = f"has a keypoint of visibility {wrong[0]:g}; 0, 1 or 2 is expected."
        yield data.about(annotation, "error", "keypoint visibility", sentence)
    number, labelled = annotation.num_keypoints, count_labelled(keypoints)
    if number is None:
        sentence = "has no num_keypoints, without which evaluation of keypoints stops."
        yield data.about(annotation, "error", "num_keypoints missing", sentence)
    elif number != labelled:
        sentence = f"has num_keypoints {number}, but {labelled} with a visibility above 0."
        yield data.about(annotation, "warning", "num_keypoints differs", sentence)
    size_hw = data.size_hw(annotation)
    boxes = [(x, y, x, y) for x, y, flag in points if flag]
    if size_hw and any(geometry.excess(box, size_hw) > geometry.EDGE_PIXELS for box in boxes):
        sentence = "has a labelled keypoint outside its image."
        yield data.about(annotation, "warning", "keypoint outside the image", sentence)

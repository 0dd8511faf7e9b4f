"""Checks of keypoints."""

from collections.abc import Iterator

from d2seg.check_data import geometry
from d2seg.check_data.findings import Expectations, Finding, Severity, counted
from d2seg.check_data.records import AnnotationRecord, Dataset


def check_keypoint_count(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Compare the categories' keypoints with what the model predicts."""
    wanted = expected.num_keypoints
    for category in data.categories_by_id.values():
        number = len(category.keypoints)
        if wanted is not None and number != wanted:
            yield Finding(
                "error",
                "keypoints and NUM_KEYPOINTS",
                f"Category '{category.name}' has {counted(number, 'keypoint')}, the model {wanted}; set "
                "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS.",
            )


def check_keypoints(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Compare each annotation's keypoints with its category, its count and its image."""
    for annotation in data.annotations:
        names = data.categories_by_id.get(annotation.category_id)
        number = len(names.keypoints) if names else 0
        if annotation.keypoints is None:
            if number:
                sentence = f"has no usable keypoints, but its category has {number}."
                yield data.about(annotation, "warning", "keypoints missing", sentence)
        elif len(annotation.keypoints) != 3 * number:
            sentence = (
                f"has {len(annotation.keypoints)} numbers as keypoints; its category has {number} "
                f"keypoints, which take {3 * number}."
            )
            yield data.about(annotation, "error", "keypoints of another number", sentence)
        else:
            yield from _check_values(data, annotation, annotation.keypoints)


def _check_values(
    data: Dataset, annotation: AnnotationRecord, keypoints: list[float]
) -> Iterator[Finding]:
    points = list(zip(keypoints[::3], keypoints[1::3], keypoints[2::3], strict=True))
    wrong = [flag for _, _, flag in points if flag not in (0, 1, 2)]
    labelled = [(x, y, x, y) for x, y, flag in points if flag]
    if wrong:
        sentence = f"has a keypoint of visibility {wrong[0]:g}; 0, 1 or 2 is expected."
        yield data.about(annotation, "error", "keypoint visibility", sentence)
    if annotation.num_keypoints != len(labelled):
        missing = annotation.num_keypoints is None
        told = "no num_keypoints" if missing else f"num_keypoints {annotation.num_keypoints}"
        end = ", without which evaluation stops" if missing else ""
        sentence = f"has {told}, but {len(labelled)} labelled keypoints{end}."
        severity: Severity = "error" if missing else "warning"
        yield data.about(annotation, severity, "num_keypoints", sentence)
    size_hw = data.size_hw(annotation)
    if size_hw and any(geometry.excess(p, size_hw) > geometry.EDGE_PIXELS for p in labelled):
        sentence = "has a labelled keypoint outside its image."
        yield data.about(annotation, "warning", "keypoint outside the image", sentence)

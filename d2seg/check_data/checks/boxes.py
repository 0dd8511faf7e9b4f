"""Checks of boxes and areas."""

from collections.abc import Iterator

from d2seg.check_data import geometry
from d2seg.check_data.findings import Expectations, Finding, Severity
from d2seg.check_data.outlines import covered_area, usable_polygons
from d2seg.check_data.reading import excerpt
from d2seg.check_data.records import AnnotationRecord, Dataset

MIN_DOUBTFUL = 3
"""Fewer boxes than this say nothing about the format of all."""
DOUBTFUL_SHARE = 0.1
"""Where this share of the boxes reaches beyond its image, their format may be another one."""


def check_box_sizes(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find boxes without area, and boxes (partly) outside the image."""
    for annotation in data.annotations:
        if annotation.bbox is None:
            continue
        size_hw, box = data.size_hw(annotation), geometry.corners(annotation.bbox)
        shown = excerpt(list(annotation.bbox))
        if min(annotation.bbox[2:]) <= 0:
            sentence = f"has the box {shown}, whose width or height is not above 0."
            yield data.about(annotation, "error", "box without area", sentence)
        elif size_hw is None:
            continue
        elif geometry.is_outside(box, size_hw):
            sentence = f"has the box {shown}, of which nothing is in the image{_size(size_hw)}."
            yield data.about(annotation, "error", "box outside the image", sentence)
        elif geometry.excess(box, size_hw) > geometry.EDGE_PIXELS:
            sentence = f"has the box {shown}, which reaches beyond the image{_size(size_hw)}."
            yield data.about(annotation, "warning", "box beyond the image", sentence)


def check_box_format(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find out whether the boxes are fractions, or two corners, instead of XYWH in pixels."""
    boxes = [(a.bbox, size) for a in data.annotations if a.bbox and (size := data.size_hw(a))]
    if len(boxes) < MIN_DOUBTFUL:
        return
    if all(max(box) <= 1 for box, _ in boxes):
        sentence = "No box has a number above 1: they are fractions of the image, not pixels."
        yield Finding("error", "boxes in another format", sentence)
        return
    beyond = [
        geometry.excess(geometry.corners(box), size_hw) > geometry.EDGE_PIXELS
        for box, size_hw in boxes
    ]
    are_corners = all(
        min(box[2] - box[0], box[3] - box[1]) > 0
        and geometry.excess(box, size_hw) <= geometry.EDGE_PIXELS
        for box, size_hw in boxes
    )
    if sum(beyond) >= max(MIN_DOUBTFUL, DOUBTFUL_SHARE * len(boxes)) and are_corners:
        yield Finding(
            "error",
            "boxes in another format",
            f"As x, y, width, height {sum(beyond)} of {len(boxes)} boxes reach beyond their image; "
            "as two corners all fit. COCO's format is x, y, width, height.",
        )


def check_box_outlines(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Compare boxes with the extent of their masks."""
    for annotation, box in _boxes_with_area(data):
        outline = data.outlines.get(annotation.position)
        if outline is None or geometry.same_extent(box, outline.extent_xyxy):
            continue
        left, top, right, bottom = outline.extent_xyxy
        extent = ", ".join(f"{value:g}" for value in (left, top, right - left, bottom - top))
        is_other = geometry.iou(box, outline.extent_xyxy) < geometry.SAME_IOU
        sentence = (
            f"has the box {excerpt(list(annotation.bbox or ()))}, but its mask has [{extent}]."
        )
        severity: Severity = "error" if is_other else "warning"
        yield data.about(annotation, severity, "box differs from the mask", sentence)


def check_areas(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find areas that are missing, or far from what box or mask say."""
    for annotation in data.annotations:
        if annotation.area is None:
            sentence = "has no area, without which COCO's evaluation stops with an error."
            yield data.about(annotation, "error", "area missing", sentence)
            continue
        if annotation.iscrowd:
            continue  # evaluation ignores crowds of any size
        wanted = expected_area(data, annotation)
        if annotation.area <= 0 or (wanted is not None and not _fits(annotation, wanted)):
            told = "" if wanted is None else f", but covers {wanted:g} pixels"
            sentence = f"has the area {annotation.area:g}{told}; evaluation by size depends on it."
            yield data.about(annotation, "warning", "area differs from the mask", sentence)


def expected_area(data: Dataset, annotation: AnnotationRecord) -> float | None:
    """Return the area of the mask, or else of the box, which no mask exceeds; None without both."""
    outline, size_hw = data.outlines.get(annotation.position), data.size_hw(annotation)
    if outline is None:
        return geometry.area(geometry.corners(annotation.bbox)) if annotation.bbox else None
    found = annotation.area or 0
    if (
        isinstance(annotation.segmentation, list)
        and size_hw is not None
        and not geometry.same_area(found, outline.area)
    ):
        # Polygons may overlap, or cross themselves: counting pixels is slow, but right.
        polygons = usable_polygons(annotation.segmentation)
        return covered_area(polygons, size_hw) or outline.area
    return outline.area


def check_duplicate_annotations(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find annotations with the same image, category and box as an earlier one."""
    seen: dict[tuple[object, ...], AnnotationRecord] = {}
    for annotation in data.annotations:
        if annotation.bbox is None:
            continue
        key = (annotation.image_id, annotation.category_id, annotation.bbox)
        first = seen.setdefault(key, annotation)
        if first is not annotation:
            mask = "mask" if first.segmentation == annotation.segmentation else "another mask"
            sentence = f"has the box, category and {mask} of annotation {first.id}."
            yield data.about(annotation, "warning", "annotation twice", sentence)


def _boxes_with_area(data: Dataset) -> Iterator[tuple[AnnotationRecord, geometry.Box]]:
    for annotation in data.annotations:
        if annotation.bbox is not None and min(annotation.bbox[2:]) > 0:
            yield annotation, geometry.corners(annotation.bbox)


def _fits(annotation: AnnotationRecord, wanted: float) -> bool:
    found = annotation.area or 0
    without_mask = annotation.segmentation is None
    return geometry.same_area(found, wanted) or (without_mask and found < wanted)


def _size(size_hw: tuple[int, int]) -> str:
    return f" ({size_hw[1]} x {size_hw[0]})"

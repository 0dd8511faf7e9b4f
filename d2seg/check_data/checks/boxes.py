"""Checks of boxes and areas."""

from collections.abc import Iterator, Sequence
from typing import Any

from d2seg.check_data import geometry
from d2seg.check_data.fields import excerpt
from d2seg.check_data.findings import Expectations, Finding, Severity
from d2seg.check_data.outlines import covered_area, measure_outline, usable_polygons
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
        outline = data.outlines.get(annotation.position)
        if annotation.iscrowd or (outline and geometry.same_area(annotation.area, outline.area)):
            continue  # the usual case, and crowds, which evaluation ignores at any size
        segmentation, size_hw = annotation.segmentation, data.size_hw(annotation)
        wanted = expected_area(annotation.area, segmentation, annotation.bbox, size_hw)
        if not area_fits(annotation.area, wanted, outline is None):
            told = "" if wanted is None else f", but covers {wanted:g} pixels"
            sentence = f"has the area {annotation.area:g}{told}; evaluation by size depends on it."
            yield data.about(annotation, "warning", "area differs", sentence)


def expected_area(
    found: float | None,
    segmentation: list[list[float]] | dict[str, Any] | None,
    bbox: Sequence[float] | None,
    size_hw: tuple[int, int] | None,
) -> float | None:
    """Return the area of a mask, or else of its box; None if neither is usable.

    Args:
        found: The area that is to be compared with it.
        segmentation: Polygons or RLE.
        bbox: Left, top, width, height.
        size_hw: Height and width of the image, if they are known.
    """
    outline = measure_outline(segmentation)
    if outline is None:
        return bbox[2] * bbox[3] if bbox and min(bbox[2:]) > 0 else None
    is_doubtful = found is None or not geometry.same_area(found, outline.area)
    if is_doubtful and isinstance(segmentation, list) and size_hw is not None:
        # Polygons may overlap, or cross themselves: counting pixels is slow, but right.
        return covered_area(usable_polygons(segmentation), size_hw) or outline.area
    return outline.area


def area_fits(found: float | None, wanted: float | None, is_of_box: bool) -> bool:
    """Tell whether an area can be right; no mask is larger than its box."""
    if found is None or found <= 0:
        return False
    if wanted is None or geometry.same_area(found, wanted):
        return True
    return is_of_box and found < wanted


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


def _size(size_hw: tuple[int, int]) -> str:
    return f" ({size_hw[1]} x {size_hw[0]})"

"""Checks of masks: polygons and RLE."""

from collections.abc import Iterator
from typing import Any

from d2seg.check_data import geometry
from d2seg.check_data.findings import Expectations, Finding, Severity, counted
from d2seg.check_data.outlines import polygon_fault
from d2seg.check_data.records import AnnotationRecord, Dataset
from d2seg.core.runtime.untrusted.run_lengths import rle_fault


def check_polygons(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find polygons that have no inside; an annotation with nothing else is lost."""
    for annotation in data.annotations:
        if not isinstance(annotation.segmentation, list):
            continue
        outline = data.outlines.get(annotation.position)
        if outline is not None and outline.num_parts == len(annotation.segmentation):
            continue
        faults = [fault for p in annotation.segmentation if (fault := polygon_fault(p))]
        is_lost = outline is None
        end = "and no other, so it is lost." if is_lost else "which is left out; others are used."
        sentence = f"has a polygon {faults[0]}, {end}"
        severity: Severity = "error" if is_lost else "warning"
        yield data.about(annotation, severity, "degenerate polygon", sentence)


def check_rle(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find RLE masks that are broken, empty, or of another size than their image."""
    for annotation in data.annotations:
        if not isinstance(annotation.segmentation, dict):
            continue
        fault, mismatch = rle_fault(annotation.segmentation), _size_mismatch(data, annotation)
        if fault:
            sentence = f"has an RLE mask that {fault}."
            yield data.about(annotation, "error", "broken RLE", sentence)
        elif annotation.position not in data.outlines:
            yield data.about(annotation, "error", "empty mask", "has a mask without any pixel.")
        elif mismatch:
            yield data.about(annotation, "error", "RLE of another size", mismatch)


def check_masks_inside(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find polygons that are (partly) outside their image."""
    for annotation in data.annotations:
        outline, size_hw = data.outlines.get(annotation.position), data.size_hw(annotation)
        if outline is None or size_hw is None or isinstance(annotation.segmentation, dict):
            continue
        beyond = geometry.excess(outline.extent_xyxy, size_hw)
        if geometry.is_outside(outline.extent_xyxy, size_hw):
            sentence = "has a mask of which nothing is in the image."
            yield data.about(annotation, "error", "mask outside the image", sentence)
        elif beyond > geometry.EDGE_PIXELS:
            sentence = f"has a mask that reaches {beyond:g} pixels beyond the image."
            yield data.about(annotation, "warning", "mask beyond the image", sentence)


def check_masks_present(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find annotations without a mask where masks are trained, or where others have one."""
    masks_are_trained = expected.mask_format in {"polygon", "bitmask"}
    if expected.mask_format == "none" or not (data.outlines or masks_are_trained):
        return
    for annotation in data.annotations:
        if annotation.segmentation is None:
            sentence = "has no usable segmentation, with which training masks stops with an error."
            severity: Severity = "error" if masks_are_trained else "warning"
            yield data.about(annotation, severity, "mask missing", sentence)


def check_mask_format(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Say which INPUT.MASK_FORMAT the masks need."""
    if expected.mask_format not in {None, "polygon"}:
        return
    encoded = [a for a in data.annotations if isinstance(a.segmentation, dict) and not a.iscrowd]
    if encoded:
        yield Finding(
            "note" if expected.mask_format is None else "error",
            "masks as RLE",
            f"{counted(len(encoded), 'object')} with an RLE mask: training needs "
            "INPUT.MASK_FORMAT bitmask.",
        )


def check_crowds(data: Dataset, expected: Expectations) -> Iterator[Finding]:
    """Find annotations that do not say whether they are crowds, and crowds made of polygons."""
    for annotation in data.annotations:
        if annotation.iscrowd is None and not data.is_lvis:
            sentence = (
                "has no iscrowd of 0 or 1, without which COCO's evaluation stops with an error."
            )
            yield data.about(annotation, "error", "iscrowd missing", sentence)
        elif annotation.iscrowd and isinstance(annotation.segmentation, list):
            sentence = (
                "is a crowd (iscrowd 1) made of polygons; COCO has RLE there. Is it meant so?"
            )
            yield data.about(annotation, "warning", "crowd of polygons", sentence)


def _size_mismatch(data: Dataset, annotation: AnnotationRecord) -> str | None:
    segmentation: Any = annotation.segmentation
    size_hw, mask_hw = data.size_hw(annotation), tuple(segmentation["size"])
    if size_hw is None or mask_hw == size_hw:
        return None
    hint = "; the order is height, width" if mask_hw == size_hw[::-1] else ""
    return (
        f"has an RLE mask of size {list(mask_hw)}, but its image has height {size_hw[0]} and width "
        f"{size_hw[1]}{hint}."
    )

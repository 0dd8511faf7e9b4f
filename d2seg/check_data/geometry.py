"""Arithmetic on single boxes, XYXY in pixels unless the name says otherwise."""

from typing import TypeAlias

Box: TypeAlias = tuple[float, float, float, float]

EDGE_PIXELS = 1.0
"""Boxes and masks may reach this far beyond the image: tools round differently."""
SAME_IOU = 0.5
"""A box and a mask that overlap less are not of one object."""
SIDE_PIXELS, SIDE_SHARE = 3.0, 0.1
"""A side of a box may be this far from that of its mask: pixels, or this share of the mask's."""
AREA_PIXELS, AREA_SHARE = 16.0, 0.25
"""An area may differ by this from that of the mask: pixels, or this share of it."""


def corners(box_xywh: Box) -> Box:
    """Turn left, top, width, height into XYXY."""
    left, top, width, height = box_xywh
    return left, top, left + width, top + height


def to_xywh(box: Box) -> list[float]:
    """Turn XYXY into left, top, width, height."""
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


def excess(box: Box, size_hw: tuple[int, int]) -> float:
    """Return by how many pixels a box reaches beyond the image; at most 0 if it does not."""
    height, width = size_hw
    return max(-box[0], -box[1], box[2] - width, box[3] - height)


def is_outside(box: Box, size_hw: tuple[int, int]) -> bool:
    """Tell whether nothing of a box is in the image."""
    clipped = clip(box, size_hw)
    return clipped[2] <= clipped[0] or clipped[3] <= clipped[1]


def clip(box: Box, size_hw: tuple[int, int]) -> Box:
    """Return the part of a box inside the image; nothing is left of one outside."""
    height, width = size_hw
    return max(box[0], 0.0), max(box[1], 0.0), min(box[2], width), min(box[3], height)


def area(box: Box) -> float:
    """Return width times height, 0 for a box that is turned inside out."""
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def iou(a: Box, b: Box) -> float:
    """Return the intersection over the union of two boxes, 0 if both have no area."""
    common = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = area(a) + area(b) - common
    return common / union if union > 0 else 0.0


def same_extent(box: Box, extent: Box) -> bool:
    """Tell whether a box is where the extent of its mask is, but for rounding."""
    sides = (extent[2] - extent[0], extent[3] - extent[1]) * 2
    return all(
        abs(found - wanted) <= max(SIDE_PIXELS, SIDE_SHARE * side)
        for found, wanted, side in zip(box, extent, sides, strict=True)
    )


def same_area(found: float, wanted: float) -> bool:
    """Tell whether an area is that of the mask, but for how pixels were counted."""
    return abs(found - wanted) <= max(AREA_PIXELS, AREA_SHARE * wanted)

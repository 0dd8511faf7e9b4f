"""Pictures of a data set's images with their annotations, the doubtful ones in colour."""

import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from d2seg.check_data import Report, geometry
from d2seg.check_data.findings import SEVERITIES, Finding, Severity
from d2seg.check_data.records import AnnotationRecord, Dataset, ImageRecord
from d2seg.core.runtime.untrusted.run_lengths import decode_rle, rle_fault
from d2seg.images import load_image
from d2seg.visualize import stretch_contrast

LONG_SIDE = 900
"""Images are enlarged or reduced to about this many pixels."""
LARGEST_SCALE = 12.0
MARGIN_SHARE = 0.2
"""At most this share of the longer side is added around an image, for what lies outside it."""
LINE_PIXELS, LABEL_PIXELS = 2, 13

COLOURS: dict[Severity | None, tuple[int, int, int]] = {
    "error": (229, 57, 53),
    "warning": (251, 140, 0),
    "note": (41, 121, 255),
    None: (0, 172, 122),
}
"""Of annotations by what was found; None is for those that nothing was found of."""


class Frame(NamedTuple):
    """How pixels of the image become pixels of the picture: scaled, then moved."""

    scale: float
    margin: int

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the image is in the picture."""
        return x * self.scale + self.margin, y * self.scale + self.margin


def choose_images(report: Report, limit: int) -> list[ImageRecord]:
    """Choose images to show: the worst first, then others, evenly spread over the data set.

    Args:
        report: Of a data set.
        limit: How many at most.
    """
    if report.data is None:
        return []
    files = report.data.files
    readable = {i.file_name: i for i in reversed(report.data.images) if files[i.file_name].mode}
    ranks: dict[str, list[int]] = {}
    for finding in report.findings:
        if finding.image in readable:
            rank = ranks.setdefault(finding.image, [0] * len(SEVERITIES))
            rank[SEVERITIES.index(finding.severity)] += 1
    doubtful = {name: rank for name, rank in ranks.items() if any(rank[:2])}
    worst = sorted(doubtful, key=lambda name: doubtful[name], reverse=True)[:limit]
    others = [name for name in sorted(readable) if name not in doubtful]
    step = max(1, len(others) // max(1, limit - len(worst)))
    return [readable[name] for name in [*worst, *others[::step]][:limit]]


def draw_image(report: Report, image: ImageRecord) -> np.ndarray | None:
    """Draw an image with its annotations.

    Args:
        report: Of its data set.
        image: One of its images.

    Returns:
        (H, W, 3) uint8 RGB; None if the file cannot be read after all.
    """
    data = report.data
    if data is None:
        return None
    try:
        pixels = load_image(os.path.join(data.image_root, image.file_name), "RGB")
    except (ValueError, OSError):
        return None
    annotations = data.annotations_by_image.get(image.id, [])
    frame = _choose_frame(pixels, data, annotations)
    canvas = _place(stretch_contrast(pixels), frame)
    severities = _worst_by_annotation(report.findings, image)
    # The doubtful ones last, so that nothing covers them.
    for annotation in sorted(annotations, key=lambda a: a.id in severities):
        severity = severities.get(annotation.id) if annotation.id is not None else None
        canvas = _draw_annotation(canvas, frame, annotation, severity, pixels.shape[:2])
    return np.asarray(canvas)


def _worst_by_annotation(findings: Iterable[Finding], image: ImageRecord) -> dict[object, Severity]:
    worst: dict[object, Severity] = {}
    for finding in findings:
        if finding.image != image.file_name:
            continue
        for annotation_id in finding.annotation_ids:
            known = worst.get(annotation_id, SEVERITIES[-1])
            worst[annotation_id] = min(known, finding.severity, key=SEVERITIES.index)
    return worst


def _choose_frame(
    pixels: np.ndarray, data: Dataset, annotations: Sequence[AnnotationRecord]
) -> Frame:
    height, width = pixels.shape[:2]
    boxes = [geometry.corners(a.bbox) for a in annotations if a.bbox]
    boxes += [
        data.outlines[a.position].extent_xyxy for a in annotations if a.position in data.outlines
    ]
    beyond = max((geometry.excess(box, (height, width)) for box in boxes), default=0.0)
    longest = max(height, width)
    margin = min(max(beyond, 0.0), MARGIN_SHARE * longest)
    scale = min(LONG_SIDE / longest, LARGEST_SCALE)
    return Frame(scale, round(margin * scale) + LINE_PIXELS)


def _place(pixels: np.ndarray, frame: Frame) -> Image.Image:
    height, width = (max(1, round(side * frame.scale)) for side in pixels.shape[:2])
    canvas = Image.new("RGB", (width + 2 * frame.margin, height + 2 * frame.margin), "#d9dfe6")
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    canvas.paste(resized, (frame.margin, frame.margin))
    return canvas


def _draw_annotation(
    canvas: Image.Image,
    frame: Frame,
    annotation: AnnotationRecord,
    severity: Severity | None,
    size_hw: tuple[int, ...],
) -> Image.Image:
    """Draw the mask; and the box, with the id, if there is no mask or something was found."""
    colour = COLOURS[severity]
    if isinstance(annotation.segmentation, dict):
        canvas = _tint_mask(canvas, frame, annotation.segmentation, colour, size_hw)
    draw = ImageDraw.Draw(canvas)
    for polygon in annotation.segmentation if isinstance(annotation.segmentation, list) else ():
        points = zip(polygon[::2], polygon[1::2], strict=False)
        near = [_near(frame.point(x, y), canvas.size) for x, y in points]
        if len(near) > 1:
            draw.line([*near, near[0]], fill=colour, width=LINE_PIXELS)
    if annotation.bbox is not None and (severity or annotation.segmentation is None):
        left, top, right, bottom = geometry.corners(annotation.bbox)
        first = _near(frame.point(left, top), canvas.size)
        second = _near(frame.point(right, bottom), canvas.size)
        x, y = sorted((first[0], second[0])), sorted((first[1], second[1]))
        draw.rectangle((x[0], y[0], x[1], y[1]), outline=colour, width=LINE_PIXELS)
        if severity:
            _label(draw, (x[0], y[0]), str(annotation.id), colour, canvas.width)
    return canvas


def _near(point: tuple[float, float], size_wh: tuple[int, int]) -> tuple[float, float]:
    """Keep a point in the picture: what is far outside is drawn at its edge."""
    return (
        min(max(point[0], 0.0), size_wh[0] - 1.0),
        min(max(point[1], 0.0), size_wh[1] - 1.0),
    )


def _tint_mask(
    canvas: Image.Image,
    frame: Frame,
    segmentation: dict[str, Any],
    colour: tuple[int, int, int],
    size_hw: tuple[int, ...],
) -> Image.Image:
    if segmentation["size"] != list(size_hw) or rle_fault(segmentation):
        return canvas
    mask = Image.fromarray(decode_rle(segmentation) * np.uint8(110))
    size = (canvas.width - 2 * frame.margin, canvas.height - 2 * frame.margin)
    strength = Image.new("L", canvas.size)
    strength.paste(mask.resize(size, Image.Resampling.NEAREST), (frame.margin, frame.margin))
    return Image.composite(Image.new("RGB", canvas.size, colour), canvas, strength)


def _label(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    colour: tuple[int, int, int],
    canvas_width: int,
) -> None:
    font = ImageFont.load_default(LABEL_PIXELS)
    width = draw.textlength(text, font=font) + 6
    left = min(corner[0], canvas_width - width)
    top = max(corner[1] - LABEL_PIXELS - 4, 0)
    draw.rectangle((left, top, left + width, top + LABEL_PIXELS + 4), fill=colour)
    draw.text((left + 3, top + 1), text, fill="white", font=font)

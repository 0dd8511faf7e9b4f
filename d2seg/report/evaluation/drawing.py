"""The objects and the detections of an image, coloured by verdict.

Pictures are (H, W, 3) uint8 RGB numpy arrays.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from d2seg.core.runtime.untrusted.run_lengths import decode_rle
from d2seg.report.evaluation.labels import Label, draw_labels
from d2seg.report.evaluation.matching import Judged, JudgedImage, Verdict
from d2seg.visualize import enlarge

VERDICT_COLORS: dict[Verdict, tuple[int, int, int]] = {
    Verdict.CORRECT: (64, 160, 255),
    Verdict.MISSED: (255, 214, 0),
    Verdict.FALSE: (255, 84, 120),
    Verdict.CONFUSED: (206, 130, 255),
    Verdict.IGNORED: (150, 156, 164),
}
ERRORS = (Verdict.MISSED, Verdict.FALSE, Verdict.CONFUSED)
FILL = {"segm": 0.4, "bbox": 0.12}
"""How much of an error's colour covers its mask or box."""

DRAWING_PIXELS = 600
"""About how many pixels the shorter side of a small image has after it was enlarged to draw on."""
LONGEST_DRAWING = 1600
GREY = 96
"""What a missing image is drawn on."""


def draw_judged_image(
    image: np.ndarray, judged: JudgedImage, class_names: Mapping[int, str], iou_type: str
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the objects of an image, and its detections.

    What is right is outlined; errors are filled and labelled as well, so that they are seen first.

    Args:
        image: (H, W, 3) uint8 RGB; not modified.
        judged: Its objects and detections; the masks are RLE of the image's size.
        class_names: By category id; with a single class no name is written.
        iou_type: ``segm`` draws masks, ``bbox`` boxes.

    Returns:
        Two pictures of one size, larger than a small image and smaller than a very large one.
    """
    picture, scale = _fit(image)
    objects = _draw(picture, judged.objects, class_names, iou_type, scale)
    return objects, _draw(picture, judged.detections, class_names, iou_type, scale)


def grey_picture(size_hw: tuple[int, int]) -> np.ndarray:
    """Return a grey picture, for an image that cannot be read."""
    return np.full((*size_hw, 3), GREY, dtype=np.uint8)


def _fit(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Scale an image so that thin lines can be seen on it; return it and the factor."""
    height, width = image.shape[:2]
    if max(height, width) > LONGEST_DRAWING:
        scale = LONGEST_DRAWING / max(height, width)
        size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        return np.asarray(Image.fromarray(image).resize(size_wh)), scale
    limit = LONGEST_DRAWING // max(height, width)
    factor = max(1, min(round(DRAWING_PIXELS / min(height, width)), limit))
    return enlarge(image, factor), factor


def _draw(
    picture: np.ndarray,
    items: Sequence[Judged],
    class_names: Mapping[int, str],
    iou_type: str,
    scale: float,
) -> np.ndarray:
    drawn = picture.copy()
    # Small ones are drawn last, for what is large may lie around them.
    for judged in sorted(items, key=lambda judged: float(judged.item["area"]), reverse=True):
        fill = FILL[iou_type] if judged.verdict in ERRORS else 0.0
        mask = _region(judged.item, iou_type, picture.shape, scale)
        _paint(drawn, mask, VERDICT_COLORS[judged.verdict], fill)
    errors = (judged for judged in items if judged.verdict in ERRORS)
    return draw_labels(drawn, [_label(judged, class_names, scale) for judged in errors])


def _region(
    item: Mapping[str, Any], iou_type: str, shape: tuple[int, ...], scale: float
) -> np.ndarray:
    """Return the pixels (H, W) bool of a mask or a box in the scaled picture."""
    height, width = shape[:2]
    if iou_type == "segm":
        mask = Image.fromarray(decode_rle(item["segmentation"]) * np.uint8(255))
        smooth = mask.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(smooth) > 127
    x0, y0, x1, y1 = (max(0, round(value)) for value in _box_xyxy(item, scale))
    region = np.zeros((height, width), dtype=bool)
    region[y0:y1, x0:x1] = True
    return region


def _paint(picture: np.ndarray, mask: np.ndarray, color: tuple[int, int, int], fill: float) -> None:
    """Outline a mask two pixels wide, in place, and cover it with ``fill`` (0..1) of the colour."""
    if fill:
        mixed = picture[mask] * (1 - fill) + np.array(color, dtype=np.float32) * fill
        picture[mask] = mixed.round().astype(np.uint8)
    picture[mask & ~_shrink(_shrink(mask))] = color


def _shrink(mask: np.ndarray) -> np.ndarray:
    """Take away the pixels (H, W) that have a neighbour outside the mask or the picture."""
    padded = np.pad(mask, 1)
    above, below = padded[:-2, 1:-1], padded[2:, 1:-1]
    left, right = padded[1:-1, :-2], padded[1:-1, 2:]
    return np.asarray(mask & above & below & left & right)


def _box_xyxy(item: Mapping[str, Any], scale: float) -> tuple[float, float, float, float]:
    left, top, width, height = (float(value) * scale for value in item["bbox"])
    return left, top, left + width, top + height


def _label(judged: Judged, class_names: Mapping[int, str], scale: float) -> Label:
    """Name the class and, of a detection, the score; a single class needs no name."""
    item = judged.item
    words = [class_names[item["category_id"]]] if len(class_names) > 1 else []
    if "score" in item:
        words.append(f"{item['score']:.2f}")
    if judged.other is not None:
        relation = "is" if "score" in item else "taken for"
        words.append(f"({relation} {class_names[judged.other]})")
    return Label(" ".join(words), _box_xyxy(item, scale), VERDICT_COLORS[judged.verdict])

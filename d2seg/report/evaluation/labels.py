"""Small labels above the boxes of a picture."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TEXT_PIXELS = 13
LABEL_HEIGHT = TEXT_PIXELS + 4


class Label(NamedTuple):
    """A text, the box (XYXY pixels) it belongs to, and the colour (RGB) of its background."""

    text: str
    box_xyxy: tuple[float, float, float, float]
    color: tuple[int, int, int]


def draw_labels(picture: np.ndarray, labels: Sequence[Label]) -> np.ndarray:
    """Write each label above its box, or at the picture's edge where there is no room.

    Args:
        picture: (H, W, 3) uint8 RGB; not modified.
        labels: An empty text is left out, and so is one that would cover an earlier one.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    canvas = Image.fromarray(picture.copy())
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(TEXT_PIXELS)
    taken: list[tuple[float, float, float, float]] = []
    for label in labels:
        width = draw.textlength(label.text, font=font) + 6
        place = _place(label.box_xyxy, width, canvas.size)
        if label.text and not any(_overlap(place, other) for other in taken):
            taken.append(place)
            draw.rectangle(place, fill=label.color)
            draw.text((place[0] + 3, place[1]), label.text, fill=(16, 20, 24), font=font)
    return np.asarray(canvas)


def _place(
    box_xyxy: tuple[float, float, float, float], width: float, size_wh: tuple[int, int]
) -> tuple[float, float, float, float]:
    left = max(0.0, min(box_xyxy[0], size_wh[0] - width))
    top = max(0.0, min(box_xyxy[1] - LABEL_HEIGHT, float(size_wh[1] - LABEL_HEIGHT)))
    return left, top, left + width, top + LABEL_HEIGHT


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

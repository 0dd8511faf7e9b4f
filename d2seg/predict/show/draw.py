"""Objects drawn over their image."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from d2seg.predict.prediction import Prediction
from d2seg.visualize import RGB, instance_colors, mask_outlines

COLORS = 24
OPACITY = 0.45
LABEL_LINES = 2
"""Objects that are not so many times as high and wide as their label is high get none: labels would
cover them and each other."""
POINT_SCORE = 0.05
"""From this score on a keypoint is drawn, as in detectron2."""


class Shown(NamedTuple):
    """What is drawn of an object.

    Attributes:
        masks: Its mask and the outline of it.
        boxes: Its box.
        names: The name of its class.
        scores: Its score, in percent.
        keypoints: Its keypoints, but those that the model is not sure of.
    """

    masks: bool = True
    boxes: bool = True
    names: bool = True
    scores: bool = True
    keypoints: bool = True


class Drawer:
    """Draws what was found over images.

    Memory does not grow with the area of the image times the number of objects: masks are drawn one
    after the other, and only their surroundings are pixels. Small objects have no label.

    Args:
        shown: What is drawn of an object.
    """

    def __init__(self, shown: Shown | None = None) -> None:
        self._shown = shown or Shown()
        self._palette = instance_colors(COLORS)

    def draw(
        self,
        image: np.ndarray,
        found: Prediction,
        colors: Sequence[int] | None = None,
        note: str = "",
    ) -> np.ndarray:
        """Draw the objects of an image.

        Args:
            image: (H, W, 3) uint8 RGB. Not modified.
            found: Its objects.
            colors: A number for each object; the same number is the same colour. By default all
                colours are as different as they can be.
            note: A line in the top left corner.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        numbers = range(len(found)) if colors is None else colors
        chosen = [self._palette[number % COLORS] for number in numbers]
        scene = image.copy()
        if self._shown.masks and found.has_masks:
            _paint_masks(scene, found, chosen)
        canvas = _Canvas(scene)
        boxes = found.boxes.tolist()
        if self._shown.boxes:
            for box, color in zip(boxes, chosen, strict=True):
                canvas.box(box, color)
        if self._shown.keypoints and found.keypoints is not None:
            for points, color in zip(found.keypoints.tolist(), chosen, strict=True):
                for x, y, score in points:
                    if score >= POINT_SCORE:
                        canvas.point(x, y, color)
        if self._shown.names or self._shown.scores:
            for box, label, color in zip(boxes, self._labels(found), chosen, strict=True):
                canvas.label(box, label, color)
        if note:
            canvas.text((0, 0), note, (0, 0, 0))
        return np.asarray(canvas.picture)

    def _labels(self, found: Prediction) -> list[str]:
        names = found.names if self._shown.names else [""] * len(found)
        scores = [f"{score:.0%}" if self._shown.scores else "" for score in found.scores.tolist()]
        return [" ".join(filter(None, pair)) for pair in zip(names, scores, strict=True)]


class _Canvas:
    """Draws lines and labels that are as large as suits the picture."""

    def __init__(self, scene: np.ndarray) -> None:
        self.picture = Image.fromarray(scene)
        self._draw = ImageDraw.Draw(self.picture)
        shorter = min(scene.shape[:2])
        self._line = max(round(shorter / 300), 1)
        pixels = max(round(shorter / 45), 11)
        self._font = ImageFont.load_default(pixels)
        self._height = round(pixels * 1.3)

    def box(self, box_xyxy: Sequence[float], color: RGB) -> None:
        left, top, right, bottom = map(round, box_xyxy)
        inside = (left, top, max(right - 1, left), max(bottom - 1, top))
        self._draw.rectangle(inside, outline=color, width=self._line)

    def point(self, x: float, y: float, color: RGB) -> None:
        radius = self._line + 2
        around = (x - 0.5 - radius, y - 0.5 - radius, x - 0.5 + radius, y - 0.5 + radius)
        self._draw.ellipse(around, fill=color, outline=(255, 255, 255))

    def label(self, box_xyxy: Sequence[float], text: str, color: RGB) -> None:
        """Write above the box, or where that is outside of the picture at its upper edge."""
        left, top, right, bottom = box_xyxy
        if min(right - left, bottom - top) >= LABEL_LINES * self._height:
            self.text((left, max(top - self._height, 0)), text, color)

    def text(self, left_top: tuple[float, float], text: str, color: RGB) -> None:
        """Write on a background of that colour, as far to the left as it fits."""
        width = self._draw.textlength(text, font=self._font) + self._height / 2
        left = max(min(left_top[0], self.picture.width - width), 0)
        place = (left, left_top[1], left + width, left_top[1] + self._height)
        self._draw.rectangle(place, fill=color)
        middle = (left + width / 2, left_top[1] + self._height / 2)
        ink = (0, 0, 0) if sum(color) > 250 else (255, 255, 255)
        self._draw.text(middle, text, fill=ink, font=self._font, anchor="mm")


def _paint_masks(scene: np.ndarray, found: Prediction, colors: Sequence[RGB]) -> None:
    """Colour the pixels of masks in place, the smaller objects over the larger ones."""
    if found.mask_source is None:
        return
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    order = sides.prod(1).argsort(descending=True)
    windows = found.mask_source[order].windows(found.mask_threshold)
    for row, (pixels, (left, top)) in zip(order.tolist(), windows, strict=True):
        part = scene[top : top + pixels.shape[0], left : left + pixels.shape[1]]
        color = np.array(colors[row], dtype=np.float32)
        inside = pixels.numpy()
        part[inside] = part[inside] * (1 - OPACITY) + color * OPACITY
        if pixels.numel():
            part[mask_outlines(pixels[None])[0].numpy()] = color

"""Objects drawn over their image, by supervision."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from d2seg.predict.conversion import require
from d2seg.predict.prediction import Prediction
from d2seg.visualize import instance_colors

COLORS = 24
OPACITY = 0.5

LEAST_TEXT_SCALE = 0.3
"""What can be read still."""

TEXT_PIXELS = 32.0
"""Height of a label at a text scale of one."""

LABEL_LINES = 2
"""Objects that are not so many times as high and wide as their label is high get none: labels would
cover them and each other."""


class Shown(NamedTuple):
    """What is drawn of an object.

    Attributes:
        masks: Its mask and the outline of it.
        boxes: Its box.
        names: The name of its class.
        scores: Its score, in percent.
    """

    masks: bool = True
    boxes: bool = True
    names: bool = True
    scores: bool = True


class Drawer:
    """Draws what was found over images.

    Memory does not grow with the area of the image times the number of objects: masks are drawn one
    after the other, from run lengths. Small objects have no label.

    Args:
        shown: What is drawn of an object.

    Raises:
        ImportError: supervision is not installed.
    """

    def __init__(self, shown: Shown | None = None) -> None:
        self._sv = require("supervision", "Drawing predictions")
        self._shown = shown or Shown()
        self._palette = self._sv.ColorPalette([self._sv.Color(*c) for c in instance_colors(COLORS)])

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
        scene = np.ascontiguousarray(image[:, :, ::-1])  # supervision's colours are BGR
        lookup = np.arange(len(found)) if colors is None else np.asarray(colors, dtype=np.int64)
        size_wh = (image.shape[1], image.shape[0])
        thickness = self._sv.calculate_optimal_line_thickness(size_wh)
        text_scale = max(self._sv.calculate_optimal_text_scale(size_wh) * 0.8, LEAST_TEXT_SCALE)
        detections = found.to_supervision()
        for annotator in self._annotators(found, thickness):
            annotator.annotate(scene, detections, custom_color_lookup=lookup)
        if self._shown.names or self._shown.scores:
            large = _min_sides(found) >= LABEL_LINES * TEXT_PIXELS * text_scale
            labels = self._labels(found[torch.from_numpy(large)])
            self._label_annotator(text_scale).annotate(
                scene, detections[large], labels, custom_color_lookup=lookup[large]
            )
        if note:
            scene = self._write_note(scene, note, text_scale)
        return np.ascontiguousarray(scene[:, :, ::-1])

    def _annotators(self, found: Prediction, thickness: int) -> list[Any]:
        sv, annotators = self._sv, []
        if self._shown.masks and found.has_masks:
            annotators.append(sv.MaskAnnotator(self._palette, OPACITY))
            annotators.append(sv.PolygonAnnotator(self._palette, max(thickness // 2, 1)))
        if self._shown.boxes:
            annotators.append(sv.BoxAnnotator(self._palette, thickness))
        return annotators

    def _label_annotator(self, text_scale: float) -> Any:
        return self._sv.LabelAnnotator(
            self._palette,
            text_color=self._sv.Color.BLACK,
            text_scale=text_scale,
            text_padding=max(round(8 * text_scale), 1),
            smart_position=True,
        )

    def _labels(self, found: Prediction) -> list[str]:
        names = found.names if self._shown.names else [""] * len(found)
        scores = [f"{score:.0%}" if self._shown.scores else "" for score in found.scores.tolist()]
        return [" ".join(filter(None, pair)) for pair in zip(names, scores, strict=True)]

    def _write_note(self, scene: np.ndarray, note: str, text_scale: float) -> np.ndarray:
        # The text is centred on the anchor; its size is about that of so many letters.
        half_wh = len(note) * 10 * text_scale + 10, 15 * text_scale + 5
        drawn: np.ndarray = self._sv.draw_text(
            scene,
            note,
            self._sv.Point(*half_wh),
            text_color=self._sv.Color.WHITE,
            text_scale=text_scale,
            text_padding=round(8 * text_scale),
            background_color=self._sv.Color.BLACK,
        )
        return drawn


def _min_sides(found: Prediction) -> np.ndarray:
    """Return (N,): the smaller of the height and the width of each box."""
    sides: np.ndarray = (found.boxes[:, 2:] - found.boxes[:, :2]).amin(1).numpy()
    return sides

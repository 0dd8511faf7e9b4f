"""Single things on a picture: text, boxes, lines, circles, polygons, masks."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from d2seg.core.utils.canvas import VisImage, as_points
from d2seg.core.utils.colormap import Color, change_brightness, random_color, to_rgb
from d2seg.core.utils.generic_mask import GenericMask, drop_small_parts
from d2seg.core.utils.shapes import border, inner_point, rotated_corners, to_numpy


class Drawer:
    """Draws single things on an image, in sizes that suit it.

    Args:
        img_rgb: (H, W, 3) RGB, values in 0..255. Not modified.
        scale: Pixels of the picture for each pixel of the image.
        font_size_scale: Factor of the size of all text.
    """

    def __init__(
        self, img_rgb: np.ndarray | Tensor, scale: float = 1.0, font_size_scale: float = 1.0
    ) -> None:
        self.img = np.clip(np.asarray(img_rgb), 0, 255).astype(np.uint8)
        if self.img.ndim != 3 or self.img.shape[2] != 3:
            raise ValueError(f"Visualizer draws on (H, W, 3) RGB images; found {self.img.shape}.")
        self.output = VisImage(self.img, scale=scale)
        side = float(np.sqrt(self.output.height * self.output.width))
        self._default_font_size = max(side / 45, 14 / scale) * font_size_scale
        self._line_width = max(side / 300, 1 / scale)

    def draw_text(
        self,
        text: str,
        position: tuple[float, float],
        *,
        font_size: float | None = None,
        color: Color = "g",
        horizontal_alignment: str = "center",
        rotation: float = 0,
    ) -> VisImage:
        """Write text at a position (x, y) in pixels of the image, on a dark ground."""
        bright = np.maximum(to_rgb(color), 0.2)
        self.output.write(
            text,
            position,
            self._default_font_size if font_size is None else font_size,
            tuple((bright / max(bright.max(), 0.8)).clip(0, 1).tolist()),
            horizontal_alignment,
            rotation,
        )
        return self.output

    def draw_box(
        self, box_coord: Any, alpha: float = 0.5, edge_color: Color = "g", line_style: str = "-"
    ) -> VisImage:
        """Draw the outline of a box, XYXY pixels."""
        x0, y0, x1, y1 = (float(value) for value in box_coord)
        corners = as_points([x0, y0, x1, y0, x1, y1, x0, y1, x0, y0])
        for start, end in pairwise(corners):
            self._draw_styled(start, end, edge_color, self._line_width, line_style, alpha)
        return self.output

    def draw_rotated_box_with_label(
        self,
        rotated_box: Any,
        alpha: float = 0.5,
        edge_color: Color = "g",
        line_style: str = "-",
        label: str | None = None,
    ) -> VisImage:
        """Draw a box given by centre, width, height and counter-clockwise degrees.

        The label stands at its upper left corner; the upper edge is drawn with the line style, the
        others dashed where it is solid.
        """
        corners = rotated_corners(np.asarray(to_numpy(rotated_box), np.float64))
        for index, start in enumerate(corners):
            style = line_style if index == 0 else "--"
            end = corners[(index + 1) % 4]
            self._draw_styled(start, end, edge_color, self._line_width, style, alpha)
        if label is not None:
            angle = float(rotated_box[4])
            self.draw_text(
                label, tuple(corners[0]), color=edge_color, horizontal_alignment="left",
                rotation=angle,
            )  # fmt: skip
        return self.output

    def draw_circle(
        self, circle_coord: tuple[float, float], color: Color, radius: float = 3
    ) -> VisImage:
        """Draw a filled circle about (x, y), radius in pixels of the image."""
        self.output.fill_circle(np.asarray(circle_coord, np.float64), radius, color)
        return self.output

    def draw_line(
        self,
        x_data: Sequence[float],
        y_data: Sequence[float],
        color: Color,
        linestyle: str = "-",
        linewidth: float | None = None,
    ) -> VisImage:
        """Draw a line through points, all x and all y in pixels of the image."""
        points = np.stack([np.asarray(x_data, float), np.asarray(y_data, float)], axis=1)
        width = self._line_width if linewidth is None else linewidth
        for start, end in pairwise(points):
            self._draw_styled(start, end, color, width, linestyle, 1.0)
        return self.output

    def draw_binary_mask(
        self,
        binary_mask: Any,
        color: Color | None = None,
        *,
        edge_color: Color | None = None,
        text: str | None = None,
        alpha: float = 0.5,
        area_threshold: float | None = 10,
    ) -> VisImage:
        """Colour the pixels of a mask.

        Args:
            binary_mask: (H, W) bool or 0 and 1.
            color: By default at random.
            edge_color: Of its outline; by default the colour, darker.
            text: Written on the largest part.
            alpha: 1 is opaque.
            area_threshold: Parts of the mask smaller than this, in pixels, are not drawn; None
                draws all.
        """
        mask = drop_small_parts(to_numpy(binary_mask), area_threshold or 0)
        generic = GenericMask(mask, self.output.height, self.output.width)
        if not mask.any():
            return self.output
        chosen = random_color(rgb=True, maximum=1) if color is None else color
        self._draw_mask(generic, chosen, alpha, edge_color)
        if text is not None:
            x, y = inner_point(mask)
            self.draw_text(text, (x, y), color=change_brightness(chosen, 0.7))
        return self.output

    def draw_soft_mask(
        self,
        soft_mask: Any,
        color: Color | None = None,
        *,
        text: str | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Colour pixels by the values of a mask (H, W) in [0, 1]."""
        mask = np.asarray(to_numpy(soft_mask), np.float32)
        chosen = random_color(rgb=True, maximum=1) if color is None else color
        self.output.fill_mask(mask, chosen, alpha)
        if text is not None and (mask > 0.5).any():
            self.draw_text(text, inner_point(mask > 0.5), color=change_brightness(chosen, 0.7))
        return self.output

    def draw_polygon(
        self, segment: Any, color: Color, edge_color: Color | None = None, alpha: float = 0.5
    ) -> VisImage:
        """Fill a polygon, flat or (N, 2) XY pixels, and draw its outline."""
        points = as_points(segment)
        self.output.fill_polygon(points, color, alpha)
        outline = np.concatenate([points, points[:1]])
        edge = change_brightness(color, -0.4) if edge_color is None else edge_color
        self.output.stroke(outline, edge, self._line_width, min(1.0, alpha + 0.4))
        return self.output

    def _draw_mask(
        self, mask: GenericMask, color: Color, alpha: float, edge_color: Color | None = None
    ) -> None:
        if mask.is_polygons:
            for polygon in mask.polygons:
                self.draw_polygon(polygon, color, edge_color, alpha)
            return
        pixels = mask.mask
        edge = change_brightness(color, -0.4) if edge_color is None else edge_color
        self.output.fill_mask(pixels, color, alpha)
        self.output.fill_mask(border(pixels), edge, min(1.0, alpha + 0.3))

    def _draw_styled(
        self,
        start: np.ndarray,
        end: np.ndarray,
        color: Color,
        width: float,
        style: str,
        alpha: float,
    ) -> None:
        if style in ("-", "solid"):
            self.output.stroke(np.stack([start, end]), color, width, alpha)
            return
        length = float(np.linalg.norm(end - start))
        dash = (1.5 if style in (":", "dotted", ".") else 4.0) * width
        steps = np.arange(0, length, 2 * dash)
        for first in steps.tolist():
            part = np.array([first, min(first + dash, length)])[:, None] / max(length, 1e-6)
            self.output.stroke(start + part * (end - start), color, width, alpha)

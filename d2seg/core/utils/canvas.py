"""An image to draw on, with smooth edges and transparency, by Pillow."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from d2seg.core.runtime.files import replace_when_complete
from d2seg.core.utils.colormap import Color, to_rgb

_OVERSAMPLING = 3
"""Shapes are drawn this much larger and reduced, which smooths their edges."""

Shape = Callable[[ImageDraw.ImageDraw, "Transform"], None]
Transform = Callable[[np.ndarray], list[tuple[float, float]]]


class VisImage:
    """A picture that is being drawn.

    Args:
        img: (H, W, 3) RGB, values in 0..255. Not modified.
        scale: Pixels of the picture for each pixel of the image; shapes stay sharp.

    Attributes:
        width: Of the image, before scaling.
        height: Likewise.
    """

    def __init__(self, img: np.ndarray, scale: float = 1.0) -> None:
        self.img = img
        self.scale = scale
        self.height, self.width = img.shape[:2]
        self.reset_image(img)

    def reset_image(self, img: np.ndarray) -> None:
        """Start again from an image (H, W, 3) of the same size."""
        size = (round(self.width * self.scale), round(self.height * self.scale))
        pixels = np.clip(img, 0, 255).astype(np.uint8)
        self._canvas = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)

    def get_image(self) -> np.ndarray:
        """Return the picture, (H * scale, W * scale, 3) uint8 RGB."""
        return np.array(self._canvas)

    def save(self, filepath: str | Path) -> None:
        """Write the picture to a file, whole or not at all; the suffix says in which format."""
        with replace_when_complete(Path(filepath)) as temporary:
            image_format = Image.registered_extensions().get(Path(filepath).suffix.lower(), "PNG")
            self._canvas.save(temporary, format=image_format)

    def fill_polygon(self, points_xy: np.ndarray, color: Color, alpha: float) -> None:
        """Fill a polygon (N, 2) given in pixels of the image."""
        self._paint(points_xy, 0, color, alpha, lambda draw, to: draw.polygon(to(points_xy), 1))

    def stroke(self, points_xy: np.ndarray, color: Color, width: float, alpha: float) -> None:
        """Draw a line through points (N, 2) in pixels of the image, ``width`` of them wide."""
        pixels = max(round(width * self.scale * _OVERSAMPLING), 1)

        def draw_line(draw: ImageDraw.ImageDraw, to: Transform) -> None:
            draw.line(to(points_xy), 1, width=pixels, joint="curve")

        self._paint(points_xy, width, color, alpha, draw_line)

    def fill_circle(self, center_xy: np.ndarray, radius: float, color: Color) -> None:
        """Fill a circle, centre and radius in pixels of the image."""
        corners = np.stack([center_xy - radius, center_xy + radius])
        self._paint(corners, 0, color, 1.0, lambda draw, to: draw.ellipse(to(corners), 1))

    def fill_mask(self, mask: np.ndarray, color: Color, alpha: float) -> None:
        """Lay a colour over the image where a mask (H, W) is: bool, 0 and 1, or in [0, 1]."""
        soft = Image.fromarray((np.asarray(mask, np.float32) * alpha * 255).astype(np.uint8))
        smooth = np.issubdtype(mask.dtype, np.floating)
        resampling = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
        soft = soft.resize(self._canvas.size, resampling)
        self._canvas.paste(_bytes(color), (0, 0), soft)

    def write(
        self,
        text: str,
        position_xy: tuple[float, float],
        font_size: float,
        color: Color,
        alignment: str = "center",
        rotation: float = 0.0,
    ) -> None:
        """Write text on a dark ground, moved where it would leave the picture.

        Args:
            text: One or several lines.
            position_xy: Middle of the upper edge, or its left or right end, in image pixels.
            font_size: Height of the letters in image pixels.
            color: Of the letters.
            alignment: ``left``, ``center`` or ``right``: what the position is of the text.
            rotation: Counter-clockwise degrees.
        """
        tile = _text_tile(text, max(font_size * self.scale, 6.0), color)
        if rotation:
            tile = tile.rotate(rotation, Image.Resampling.BICUBIC, expand=True)
        shift = {"left": 0.0, "center": 0.5, "right": 1.0}[alignment]
        x = round(position_xy[0] * self.scale - shift * tile.width)
        y = round(position_xy[1] * self.scale)
        x = min(max(x, 0), max(self._canvas.width - tile.width, 0))
        y = min(max(y, 0), max(self._canvas.height - tile.height, 0))
        self._canvas.paste(tile, (x, y), tile)

    def _paint(
        self, points_xy: np.ndarray, margin: float, color: Color, alpha: float, shape: Shape
    ) -> None:
        """Lay a colour over the part of the picture that a shape covers."""
        low = np.floor((points_xy.min(axis=0) - margin) * self.scale - 1).astype(int)
        high = np.ceil((points_xy.max(axis=0) + margin) * self.scale + 2).astype(int)
        left, top = np.maximum(low, 0).tolist()
        right, bottom = np.minimum(high, self._canvas.size).tolist()
        if right <= left or bottom <= top:
            return
        large = Image.new("1", ((right - left) * _OVERSAMPLING, (bottom - top) * _OVERSAMPLING))

        def to_large(points: np.ndarray) -> list[tuple[float, float]]:
            moved = (points * self.scale - (left, top)) * _OVERSAMPLING
            return [(float(x), float(y)) for x, y in moved]

        shape(ImageDraw.Draw(large), to_large)
        coverage = large.convert("L").reduce(_OVERSAMPLING).point(lambda value: value * alpha)
        self._canvas.paste(_bytes(color), (left, top, right, bottom), coverage)


def _text_tile(text: str, height: float, color: Color) -> Image.Image:
    font = ImageFont.load_default(height)
    measure = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, top, right, bottom = measure.multiline_textbbox((0, 0), text, font=font)
    pad = max(height / 6, 1)
    size = (int(right - left + 2 * pad) + 1, int(bottom - top + 2 * pad) + 1)
    tile = Image.new("RGBA", size, (0, 0, 0, 190))
    ImageDraw.Draw(tile).multiline_text(
        (pad - left, pad - top), text, fill=(*_bytes(color), 255), font=font, align="center"
    )
    return tile


def _bytes(color: Color) -> tuple[int, int, int]:
    red, green, blue = (round(value * 255) for value in to_rgb(color))
    return red, green, blue


def as_points(coordinates: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return (N, 2) float XY of flat or paired coordinates."""
    return np.asarray(coordinates, dtype=np.float64).reshape(-1, 2)

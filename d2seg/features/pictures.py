"""Features made visible: maps as colours, pooled features of objects as tiles.

Pictures are (H, W, 3) uint8 RGB numpy arrays.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from d2seg.features.colors import PrincipalColors

TILE_PIXELS = 84
GAP_PIXELS = 8


def channels_to_rgb(features: Tensor) -> np.ndarray:
    """Show a feature map in colour: its three strongest principal components as RGB.

    The same features always give the same picture. Equal colours mean similar features.

    Args:
        features: (C, h, w) float.

    Returns:
        (h, w, 3) uint8; each component is spread over 0..255, the outer 1 % clipped. Components
        that do not exist (fewer than three channels, or constant features) are mid grey.
    """
    return PrincipalColors([features]).paint(features)


def feature_tiles(features: Tensor) -> list[np.ndarray]:
    """Show the pooled features of several objects, colours comparable between them.

    Args:
        features: (N, C, S, S) float, e.g. ``mask_pooler``.

    Returns:
        N pictures (S, S, 3).
    """
    number, channels, height, width = features.shape
    if number == 0:
        return []
    stacked = features.transpose(0, 1).reshape(channels, number * height, width)
    return list(channels_to_rgb(stacked).reshape(number, height, width, 3))


def object_crops(image: np.ndarray, boxes: Tensor) -> list[np.ndarray]:
    """Cut each box out of an image and stretch it to a square, as the poolers do.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) float, XYXY pixels of ``image``; parts outside it are left away.

    Returns:
        N pictures (TILE_PIXELS, TILE_PIXELS, 3).
    """
    source = Image.fromarray(image)
    size = (TILE_PIXELS, TILE_PIXELS)
    return [
        np.asarray(source.resize(size, Image.Resampling.BICUBIC, box=tuple(box)))
        for box in _inside(boxes, image.shape[:2]).tolist()
    ]


def object_thumbnails(image: np.ndarray, boxes: Tensor, longest_side: int) -> list[np.ndarray]:
    """Cut each box out of an image and scale it to one longest side; it keeps its proportions.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) float, XYXY pixels of ``image``; parts outside it are left away.
        longest_side: Of each picture, in pixels.

    Returns:
        N pictures (h, w, 3).
    """
    source = Image.fromarray(image)
    pictures = []
    for left, top, right, bottom in _inside(boxes, image.shape[:2]).tolist():
        factor = longest_side / max(right - left, bottom - top)
        sides = (max(1, round(side * factor)) for side in (right - left, bottom - top))
        box = (left, top, right, bottom)
        picture = source.resize(tuple(sides), Image.Resampling.BICUBIC, box, reducing_gap=2.0)
        pictures.append(np.asarray(picture))
    return pictures


def feature_grid(pictures: Sequence[np.ndarray], columns: int = 8) -> np.ndarray:
    """Lay pictures out in rows on white, each as a square of ``TILE_PIXELS``.

    Raises:
        ValueError: There is no picture.
    """
    if not pictures:
        raise ValueError("A grid needs at least one picture, got none.")
    rows = -(-len(pictures) // columns)
    step = TILE_PIXELS + GAP_PIXELS
    width = min(columns, len(pictures)) * step - GAP_PIXELS
    sheet = Image.new("RGB", (width, rows * step - GAP_PIXELS), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(
            Image.fromarray(enlarge_cells(picture, TILE_PIXELS)),
            (index % columns * step, index // columns * step),
        )
    return np.asarray(sheet)


def enlarge_cells(picture: np.ndarray, shorter_side: int) -> np.ndarray:
    """Scale a small picture up so that each feature cell stays a visible rectangle."""
    height, width = picture.shape[:2]
    factor = shorter_side / min(height, width)
    size = (round(width * factor), round(height * factor))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST))


def _inside(boxes: Tensor, size_hw: tuple[int, ...]) -> Tensor:
    """Clip boxes to the image and give each at least one pixel, for cropping."""
    height, width = size_hw
    limit = boxes.new_tensor([width, height])
    top_left = torch.minimum(boxes[:, :2].clamp(min=0), limit - 1)
    bottom_right = torch.maximum(torch.minimum(boxes[:, 2:], limit), top_left + 1)
    return torch.cat([top_left, bottom_right], dim=1)

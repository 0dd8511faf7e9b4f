"""Instances drawn on an image.

Pictures are (H, W, 3) uint8 RGB numpy arrays.
"""

import colorsys
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from d2seg.core.runtime.files import replace_when_complete

GOLDEN_RATIO = 0.618034
LABEL_PIXELS = 12
GAP_PIXELS = 8


RGB = tuple[int, int, int]
"""Red, green and blue in 0..255."""


def instance_colors(count: int) -> list[RGB]:
    """Return ``count`` bright RGB colours; neighbours in the list are far apart in hue."""
    return [
        _bright_rgb(hue=index * GOLDEN_RATIO % 1.0, saturation=(0.85, 0.55)[index // 12 % 2])
        for index in range(count)
    ]


def stretch_contrast(image: np.ndarray) -> np.ndarray:
    """Spread the grey values over 0..255, so that a dark microscope image can be seen.

    The darkest and the brightest 0.5 % are clipped; colours keep their relation. An image of one
    grey value is returned as it is.
    """
    # Of each of the 256 grey values, rather than of each pixel: that is much faster.
    counts = np.bincount(image.reshape(-1), minlength=256)
    low, high = (_grey_percentile(counts, percent) for percent in (0.5, 99.5))
    if high <= low:
        return image.copy()
    stretched = (np.arange(256) - low) * (255.0 / (high - low))
    return stretched.clip(0, 255).round().astype(np.uint8)[image]


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """Scale a picture up smoothly by a whole factor."""
    height, width = image.shape[:2]
    resized = Image.fromarray(image).resize(
        (width * scale, height * scale), Image.Resampling.BICUBIC
    )
    return np.asarray(resized)


def draw_instances(
    image: np.ndarray,
    masks: Tensor,
    boxes: Tensor,
    labels: Sequence[str] = (),
    scale: int = 1,
    show_boxes: bool = False,
) -> np.ndarray:
    """Draw each instance in its own colour: mask, outline, and a label where there is room.

    A label is left out when it is larger than its instance or would cover another label, so that
    an image of many small objects stays readable; earlier instances come first. Where masks
    overlap, the smaller one is on top.

    Args:
        image: (H, W, 3) uint8 RGB; not modified.
        masks: (N, H, W) bool.
        boxes: (N, 4) float, XYXY pixels.
        labels: N short texts, or none at all.
        scale: Whole factor by which the drawing is larger than the image.
        show_boxes: Draw the boxes too.

    Returns:
        (H * scale, W * scale, 3) uint8 RGB.

    Raises:
        ValueError: The numbers of masks, boxes and labels differ, or the masks are of another size.
    """
    _check_instances(image, masks, boxes, labels)
    picture = torch.from_numpy(enlarge(image, scale).copy()).permute(2, 0, 1)
    if len(masks) > 0:
        colors = instance_colors(len(masks))
        large = _without_overlap(_enlarge_masks(masks.cpu(), scale))
        picture = draw_segmentation_masks(picture, large, alpha=0.35, colors=colors)
        picture = draw_segmentation_masks(picture, mask_outlines(large), alpha=1.0, colors=colors)
        if show_boxes:
            picture = draw_bounding_boxes(picture, boxes.cpu() * scale, colors=colors)
    drawn = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
    return _draw_labels(drawn, boxes.cpu() * scale, labels) if labels else drawn


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Put two pictures of one height beside each other, with a white gap.

    Raises:
        ValueError: The heights differ.
    """
    if left.shape[0] != right.shape[0]:
        raise ValueError(
            f"Pictures of one height are needed, got {left.shape[0]} and {right.shape[0]}."
        )
    gap = np.full((left.shape[0], GAP_PIXELS, 3), 255, dtype=np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def write_png(path: str | Path, picture: np.ndarray) -> None:
    """Write a picture as PNG; an existing file is replaced only by a whole one."""
    with replace_when_complete(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def _grey_percentile(counts: np.ndarray, percent: float) -> float:
    """Return a percentile of pixels of which ``counts`` have each grey value."""
    place = (counts.sum() - 1) * percent / 100
    up_to = counts.cumsum()
    below, above = np.searchsorted(up_to, [math.floor(place), math.ceil(place)], side="right")
    return float(below + (above - below) * (place % 1))


def _bright_rgb(hue: float, saturation: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _check_instances(
    image: np.ndarray, masks: Tensor, boxes: Tensor, labels: Sequence[str]
) -> None:
    counts = {len(masks), len(boxes), len(labels) or len(masks)}
    if len(counts) > 1:
        raise ValueError(
            "One mask, box and label per instance: "
            f"got {len(masks)}, {len(boxes)} and {len(labels)}."
        )
    if tuple(masks.shape[1:]) != image.shape[:2]:
        raise ValueError(
            f"Masks must be of the image's height and width {image.shape[:2]}, "
            f"got {tuple(masks.shape[1:])}."
        )


def _enlarge_masks(masks: Tensor, scale: int) -> Tensor:
    """Scale (N, H, W) bool masks up; interpolated, so that slanted edges do not become stairs."""
    soft = F.interpolate(masks[None].float(), scale_factor=scale, mode="bilinear")[0]
    return soft > 0.5


def _without_overlap(masks: Tensor) -> Tensor:
    """Give each pixel of (N, H, W) masks to the smallest mask that has it."""
    areas = masks.flatten(1).sum(dim=1)
    owner = torch.full(masks.shape[1:], -1, dtype=torch.int64)
    for index in areas.argsort(descending=True, stable=True).tolist():
        owner[masks[index]] = index
    return owner == torch.arange(len(masks))[:, None, None]


def mask_outlines(masks: Tensor) -> Tensor:
    """Return the border pixels (N, H, W) of each mask: those with a neighbour outside it."""
    outside = (~masks).float()
    return masks & (F.max_pool2d(outside, kernel_size=3, stride=1, padding=1) > 0)


def _draw_labels(picture: np.ndarray, boxes: Tensor, labels: Sequence[str]) -> np.ndarray:
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(LABEL_PIXELS)
    taken: list[tuple[float, float, float, float]] = []
    for (x0, y0, x1, y1), label in zip(boxes.tolist(), labels, strict=True):
        text_width = draw.textlength(label, font=font) + 4
        centre_x, centre_y = (x0 + x1) / 2, (y0 + y1) / 2
        left, top = centre_x - text_width / 2, centre_y - LABEL_PIXELS / 2 - 1
        place = (left, top, left + text_width, top + LABEL_PIXELS + 3)
        fits = text_width <= x1 - x0 and y1 - y0 >= LABEL_PIXELS + 3
        if fits and not any(_overlap(place, other) for other in taken):
            taken.append(place)
            draw.rectangle(place, fill=(20, 24, 28))
            draw.text((left + 2, top), label, fill=(255, 255, 255), font=font)
    return np.asarray(canvas)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

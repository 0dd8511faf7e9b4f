"""Colours that can be told apart, and ways to write them."""

import colorsys
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import ImageColor

_GOLDEN_RATIO = 0.61803398875
_TIERS = ((0.85, 0.95), (0.6, 0.75), (0.95, 0.65), (0.4, 0.95))
_NUM_COLORS = 80
_LETTERS = {
    "r": "#ff0000",
    "g": "#008000",
    "b": "#0000ff",
    "c": "#00bfbf",
    "m": "#bf00bf",
    "y": "#bfbf00",
    "k": "#000000",
    "w": "#ffffff",
}

Color = str | Sequence[float] | np.ndarray
"""A name, ``#rrggbb``, a letter such as ``g``, or red, green and blue in [0, 1]."""


@cache
def _palette() -> np.ndarray:
    """Return (80, 3) float RGB in [0, 1]: hues a golden ratio apart, in four kinds of shade."""
    rows = []
    for index in range(_NUM_COLORS):
        saturation, value = _TIERS[index % len(_TIERS)]
        rows.append(colorsys.hsv_to_rgb(index * _GOLDEN_RATIO % 1.0, saturation, value))
    return np.asarray(rows, dtype=np.float32)


def colormap(rgb: bool = False, maximum: float = 255) -> np.ndarray:
    """Return all colours.

    Args:
        rgb: Red first; otherwise blue first.
        maximum: The value of full intensity, 255 or 1.

    Returns:
        (80, 3) float32 in [0, maximum].
    """
    colors = _palette() * np.float32(_checked_maximum(maximum))
    return colors if rgb else colors[:, ::-1].copy()


def random_color(rgb: bool = False, maximum: float = 255) -> np.ndarray:
    """Return one colour at random, (3,) float32; arguments as of `colormap`."""
    return random_colors(1, rgb, maximum)[0]


def random_colors(N: int, rgb: bool = False, maximum: float = 255) -> list[np.ndarray]:
    """Return N colours at random, different ones as long as there are enough."""
    colors = colormap(rgb, maximum)
    rounds = [np.random.permutation(len(colors)) for _ in range(-(-N // len(colors)))]
    order = np.concatenate([*rounds, np.zeros(0, np.int64)]).astype(np.int64)[:N]
    return [colors[index] for index in order]


def to_rgb(color: Color) -> tuple[float, float, float]:
    """Return red, green and blue in [0, 1].

    Raises:
        ValueError: It is not a colour.
    """
    if isinstance(color, str):
        try:
            red, green, blue = ImageColor.getrgb(_LETTERS.get(color, color))[:3]
        except ValueError:
            raise ValueError(
                f"'{color}' is not a colour; use a name such as 'red', '#rrggbb', one of "
                f"{', '.join(_LETTERS)}, or three numbers in [0, 1]."
            ) from None
        return red / 255, green / 255, blue / 255
    values = [float(value) for value in color]
    if len(values) not in (3, 4) or min(values) < 0 or max(values) > 1:
        raise ValueError(f"A colour has red, green and blue in [0, 1]; found {values}.")
    return values[0], values[1], values[2]


def change_brightness(color: Color, factor: float) -> tuple[float, float, float]:
    """Make a colour lighter or darker.

    Args:
        color: Any colour.
        factor: In [-1, 1]: share of the way to black (negative) or to white.
    """
    hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(color))
    target = 1.0 if factor > 0 else 0.0
    lightness += (target - lightness) * abs(factor)
    return colorsys.hls_to_rgb(hue, lightness, saturation)


def jitter(color: Color) -> tuple[float, float, float]:
    """Change a colour a little at random, so that objects of a class can be told apart."""
    moved = np.asarray(to_rgb(color)) + np.random.uniform(-0.12, 0.12, 3)
    red, green, blue = np.clip(moved, 0.0, 1.0).tolist()
    return red, green, blue


def _checked_maximum(maximum: float) -> float:
    if maximum not in (1, 255):
        raise ValueError(f"The maximum of a colour is 255 or 1; found {maximum}.")
    return maximum

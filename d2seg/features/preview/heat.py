"""One number per cell as a heat map: colours from dark to bright over a range."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

STOPS = ((20, 16, 64), (112, 30, 122), (212, 62, 94), (250, 148, 62), (252, 246, 180))
"""RGB, evenly spaced from the lowest to the highest value; their brightness rises throughout."""


def value_range(maps: Sequence[Tensor]) -> tuple[float, float]:
    """Return where the middle 98 % of the values of all maps together begin and end.

    Args:
        maps: At least one, of any shapes, float.
    """
    values = np.concatenate([item.flatten().numpy() for item in maps])
    low, high = np.quantile(values, (0.01, 0.99))
    return float(low), float(high)


def heat_map(values: Tensor, low: float, high: float) -> np.ndarray:
    """Colour a map.

    Args:
        values: (h, w) float.
        low: This and lower values get the darkest colour.
        high: This and higher values get the brightest; if it is ``low`` all are dark.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    place = ((values.double() - low) / (high - low)).clamp(0, 1).numpy() if high > low else 0.0
    place = np.broadcast_to(place, values.shape)
    stops = np.linspace(0, 1, len(STOPS))
    bands = [np.interp(place, stops, band) for band in zip(*STOPS, strict=True)]
    return np.stack(bands, axis=-1).round().astype(np.uint8)


def css_colors() -> str:
    """Return the colours as a CSS gradient takes them, the darkest first."""
    return ", ".join(f"rgb{stop}" for stop in STOPS)


def activation_strength(features: Tensor) -> Tensor:
    """Return the Euclidean norm (h, w) over the channels of each cell of a map (C, h, w)."""
    return torch.linalg.vector_norm(features.float(), dim=0)

"""Features as colours: the principal components of cells, fitted on several maps at once."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

SAMPLED_CELLS = 16384
"""From larger maps as many cells, evenly spread, decide on the colours."""
VISIBLE_STRENGTH = 1e-9
"""A component with a smaller share of the strongest one's variance is not shown."""
CONSTANT = 1e-12
"""Features whose variance is a smaller share of their mean square count as constant."""


class PrincipalColors:
    """The three strongest principal components of feature maps as red, green and blue.

    Axes and colour ranges are fitted once, on cells of all maps together: equal colours mean
    similar features, also in different maps. The same maps always give the same colours.

    Args:
        maps: At least one, each (C, h, w) float with the same C; their sizes may differ.

    Raises:
        ValueError: There is no map, one is not (C, h, w), or their channels differ.

    Attributes:
        share: The share 0..1 of the variance that the shown components hold; 1 where there is none.
    """

    def __init__(self, maps: Sequence[Tensor]) -> None:
        _check_maps(maps)
        rows = [_sampled_rows(item, SAMPLED_CELLS // len(maps)) for item in maps]
        number = sum(len(item) for item in rows)
        self._mean = sum(item.sum(dim=0) for item in rows) / number
        # Decomposing the (C, C) covariance is cheap, and repeatable unlike a randomised PCA.
        covariance = sum(_scatter(item - self._mean) for item in rows) / number
        mean_square = sum(float(item.square().sum()) for item in rows) / number
        self._axes, self.share = _strongest_axes(torch.as_tensor(covariance), mean_square)
        components = torch.cat([(item - self._mean) @ self._axes for item in rows])
        self._low, self._high = _outer_range(components)

    def paint(self, features: Tensor) -> np.ndarray:
        """Show a map in the fitted colours.

        Args:
            features: (C, h, w) float.

        Returns:
            (h, w, 3) uint8; each component is spread over 0..255, the outer 1 % of the fitted cells
            clipped. Components that do not exist (fewer than three channels, or constant features)
            are mid grey.
        """
        _, height, width = features.shape
        components = (_rows(features) - self._mean) @ self._axes
        spread = (components - self._low) / (self._high - self._low)
        picture = torch.full((height * width, 3), 0.5, dtype=torch.float64)
        picture[:, : components.shape[1]] = spread.clamp(0, 1)
        return (picture * 255).round().to(torch.uint8).reshape(height, width, 3).numpy()


def _check_maps(maps: Sequence[Tensor]) -> None:
    shapes = [tuple(item.shape) for item in maps]
    same = len({shape[0] for shape in shapes if shape}) == 1
    if not same or any(len(shape) != 3 or 0 in shape for shape in shapes):
        raise ValueError(
            "Colours are fitted to at least one map (C, h, w), all of the same number of channels; "
            f"found {shapes or 'none'}."
        )


def _rows(features: Tensor) -> Tensor:
    """Return the cells (h * w, C) of a map."""
    return features.detach().double().cpu().flatten(1).T


def _sampled_rows(features: Tensor, limit: int) -> Tensor:
    """Return at most ``limit`` cells (n, C) of a map, evenly spread over it."""
    cells = features[0].numel()
    chosen = torch.linspace(0, cells - 1, min(cells, max(1, limit)), dtype=torch.float64)
    return _rows(features.flatten(1)[:, chosen.round().long().to(features.device), None])


def _scatter(centred: Tensor) -> Tensor:
    return centred.T @ centred


def _strongest_axes(covariance: Tensor, mean_square: float) -> tuple[Tensor, float]:
    """Return up to three axes (C, K), strongest first, and their share of the variance."""
    strengths, directions = torch.linalg.eigh(covariance)
    strongest = directions.flip(1)[:, :3]
    threshold = max(VISIBLE_STRENGTH * float(strengths[-1]), CONSTANT * mean_square)
    visible = strengths.flip(0)[:3] > threshold
    shown = float(strengths.flip(0)[:3][visible].sum())
    axes = (strongest * _largest_entry_sign(strongest))[:, visible]
    return axes, shown / float(strengths.clamp(min=0).sum()) if shown else 1.0


def _largest_entry_sign(directions: Tensor) -> Tensor:
    """Return the sign (K,) of the largest entry of each column; a direction alone has no sign."""
    largest = directions.abs().argmax(dim=0)
    return directions[largest, torch.arange(directions.shape[1])].sign()


def _outer_range(components: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the middle 98 % of each column (n, K) begins and ends."""
    if components.shape[1] == 0:
        return components.new_zeros(0), components.new_zeros(0)
    low, high = torch.quantile(components, components.new_tensor([0.01, 0.99]), dim=0)
    # A component of very few cells has no middle range; rounding errors are not to fill it.
    return low, torch.maximum(high, low + 1e-6 * components.abs().amax(dim=0))

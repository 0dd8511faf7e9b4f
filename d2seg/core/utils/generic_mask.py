"""One mask in any of the forms in which masks come: polygons, run lengths, pixels."""

from functools import cached_property
from typing import Any

import numpy as np

from d2seg.core.runtime.untrusted.run_lengths import decode_rle
from d2seg.core.structures import polygons_to_bitmask

_DOWN, _RIGHT, _UP, _LEFT = (0, 1), (1, 0), (0, -1), (-1, 0)


class GenericMask:
    """A mask that becomes polygons or pixels when they are asked for.

    Args:
        mask_or_polygons: Flat polygons ``[x0, y0, x1, y1, ...]`` in a list, COCO run lengths (a
            dict), or (height, width) bool or 0 and 1.
        height: Of the image.
        width: Of the image.

    Raises:
        TypeError: Anything else.
        ValueError: Pixels of another size, or a polygon of fewer than three points.
    """

    def __init__(self, mask_or_polygons: Any, height: int, width: int) -> None:
        self.height = height
        self.width = width
        self._polygons: list[np.ndarray] | None = None
        self._pixels: np.ndarray | None = None
        if isinstance(mask_or_polygons, dict):
            self._pixels = _decode(mask_or_polygons)
        elif isinstance(mask_or_polygons, list | tuple):
            self._polygons = [np.asarray(one, np.float64).reshape(-1) for one in mask_or_polygons]
            if any(len(one) < 6 or len(one) % 2 for one in self._polygons):
                raise ValueError("A polygon is a flat list of at least three x, y pairs.")
        elif isinstance(mask_or_polygons, np.ndarray):
            self._pixels = mask_or_polygons
        else:
            raise TypeError(
                "A mask is a list of polygons, a dict of run lengths or an array; found "
                f"{type(mask_or_polygons).__name__}."
            )
        if self._pixels is not None and self._pixels.shape != (height, width):
            raise ValueError(
                f"The mask is {self._pixels.shape}, but the image has height {height} and width "
                f"{width}."
            )

    @property
    def mask(self) -> np.ndarray:
        """The pixels, (height, width) uint8 of 0 and 1."""
        if self._pixels is None:
            self._pixels = self.polygons_to_mask(self._polygons or [])
        return self._pixels.astype(np.uint8)

    @property
    def polygons(self) -> list[np.ndarray]:
        """The outlines of all parts, flat coordinates; holes are left out."""
        return self._outlines[0] if self._polygons is None else self._polygons

    @property
    def has_holes(self) -> bool:
        """Whether something is cut out of the mask, which polygons do not show."""
        return self._polygons is None and self._outlines[1]

    @property
    def is_polygons(self) -> bool:
        """Whether the mask was given as polygons."""
        return self._polygons is not None

    @cached_property
    def _outlines(self) -> tuple[list[np.ndarray], bool]:
        return self.mask_to_polygons(self.mask)

    def mask_to_polygons(self, mask: np.ndarray) -> tuple[list[np.ndarray], bool]:
        """Follow the outlines of pixels (H, W), along their edges.

        Returns:
            Flat coordinates of every outer outline, and whether there are holes.
        """
        loops = trace_outlines(mask)
        outer = [loop for loop in loops if _signed_area(loop) > 0]
        return [loop.reshape(-1).astype(np.float64) for loop in outer], len(outer) < len(loops)

    def polygons_to_mask(self, polygons: list[np.ndarray]) -> np.ndarray:
        """Rasterise polygons to (height, width) uint8 by COCO's rule."""
        return polygons_to_bitmask(polygons, self.height, self.width).astype(np.uint8)

    def area(self) -> int:
        """Count the pixels."""
        return int(self.mask.sum())

    def bbox(self) -> np.ndarray:
        """Return the smallest box around the mask, (4,) XYXY pixels; zeros for an empty one."""
        rows, columns = np.nonzero(self.mask)
        if len(rows) == 0:
            return np.zeros(4)
        return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


def drop_small_parts(mask: np.ndarray, min_area: float) -> np.ndarray:
    """Leave out the parts of a mask whose outline has less than an area.

    Args:
        mask: (H, W), true or nonzero inside. Not modified.
        min_area: In pixels, holes included.

    Returns:
        (H, W) uint8 of 0 and 1.
    """
    kept = (np.asarray(mask) != 0).astype(np.uint8)
    if min_area <= 1:
        return kept
    for loop in trace_outlines(kept):
        if 0 < _signed_area(loop) < min_area:
            kept[_inside(loop, kept.shape)] = 0
    return kept


def trace_outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Follow the edges between pixels that are in a mask and those that are not.

    Args:
        mask: (H, W), true or nonzero inside.

    Returns:
        Closed loops, (N, 2) int XY corners of pixels; a loop around pixels has positive area (in
        image coordinates, y down), a loop around a hole negative. Pixels that touch at a corner
        only are apart.
    """
    padded = np.pad(np.asarray(mask) != 0, 1)
    # For each edge of the grid: where it starts, and in which direction the inside is on its right.
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for (dy, dx), (x0, y0), direction in (
        ((-1, 0), (0, 0), _RIGHT),  # upper edge of a pixel
        ((0, 1), (1, 0), _DOWN),
        ((1, 0), (1, 1), _LEFT),
        ((0, -1), (0, 1), _UP),
    ):
        outside = ~np.roll(padded, (-dy, -dx), axis=(0, 1))
        rows, columns = np.nonzero(padded & outside)
        for x, y in zip((columns - 1 + x0).tolist(), (rows - 1 + y0).tolist(), strict=True):
            following.setdefault((x, y), []).append(direction)
    loops = []
    while following:
        loops.append(_follow(following))
    return loops


def _follow(following: dict[tuple[int, int], list[tuple[int, int]]]) -> np.ndarray:
    """Take one loop out of the edges; its corners only."""
    start = point = next(iter(following))
    direction = (0, 0)
    corners = []
    while True:
        choices = following[point]
        # Where two pixels touch at a corner, turn right: stay with the pixel.
        right = (-direction[1], direction[0])
        chosen = right if right in choices else choices[0]
        choices.remove(chosen)
        if not choices:
            del following[point]
        if chosen != direction:
            corners.append(point)
            direction = chosen
        point = (point[0] + chosen[0], point[1] + chosen[1])
        if point == start:
            return np.array(corners)


def _inside(loop: np.ndarray, shape_hw: tuple[int, ...]) -> np.ndarray:
    """Tell which pixels (H, W) a loop encloses: those with an odd number of edges on their left."""
    inside = np.zeros(shape_hw, bool)
    for (x, y), (next_x, next_y) in zip(loop, np.roll(loop, -1, axis=0), strict=True):
        if x == next_x:
            inside[min(y, next_y) : max(y, next_y), x:] ^= True
    return inside


def _signed_area(loop: np.ndarray) -> float:
    x, y = loop[:, 0], loop[:, 1]
    return 0.5 * float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def _decode(run_lengths: dict[str, Any]) -> np.ndarray:
    return decode_rle(run_lengths)

"""Rotating an image and what is annotated on it."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from fvcore.transforms.transform import Transform

from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.data.transforms.arrays import from_planes, to_planes

NEAREST, LINEAR, CUBIC = 0, 1, 2
"""Interpolations by OpenCV's numbers, which is how configs and scripts name them here."""

_TORCH_MODES = {NEAREST: "nearest", LINEAR: "bilinear", CUBIC: "bicubic"}


class AffineTransform(Transform):
    """Move every point by a matrix, onto an image of a given size; what is new there is 0."""

    def __init__(
        self, matrix: np.ndarray, size_hw: tuple[int, int], interp: int | None = None
    ) -> None:
        """Describe the movement.

        Args:
            matrix: (2, 3) float, from XY pixels before to XY pixels after. Pixel (0, 0) covers the
                square from 0 to 1, so its centre is (0.5, 0.5).
            size_hw: Height and width after.
            interp: 0 nearest, 1 linear, 2 cubic (OpenCV's numbers), used for images; None for
                linear.

        Raises:
            ValueError: Another ``interp``.
        """
        super().__init__()
        self.matrix = np.asarray(matrix, dtype=np.float64)
        self.size_hw = size_hw
        self.interp = _checked(LINEAR if interp is None else interp)

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Move an image.

        Args:
            img: (H, W) or (H, W, C), any number of channels. Not modified.
            interp: In place of the transform's own.

        Returns:
            The moved array, of the same type and number of dimensions.
        """
        if img.size == 0:
            return img
        planes = to_planes(img)
        mode = _TORCH_MODES[self.interp if interp is None else _checked(interp)]
        grid = torch.from_numpy(self._sampling_grid(img.shape[:2])).to(planes.dtype)
        return from_planes(F.grid_sample(planes, grid, mode=mode, align_corners=False), img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Move (N, 2) float XY pixel coordinates, out of place."""
        coords = np.asarray(coords, dtype=np.float64)
        return coords @ self.matrix[:, :2].T + self.matrix[:, 2]

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Move a label map (H, W) without mixing labels."""
        return self.apply_image(segmentation, interp=NEAREST)

    def _sampling_grid(self, source_hw: tuple[int, ...]) -> np.ndarray:
        """Say for each pixel after where it comes from: (1, H', W', 2), XY in -1..1."""
        height, width = self.size_hw
        centres = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        to_source = _inverted(self.matrix)
        source = np.stack(centres, axis=-1) @ to_source[:, :2].T + to_source[:, 2]
        return (2 * source / np.array(source_hw[::-1]) - 1)[None]


class RotationTransform(AffineTransform):
    """Rotate counter-clockwise about a point."""

    def __init__(
        self,
        h: int,
        w: int,
        angle: float,
        expand: bool = True,
        center: tuple[float, float] | None = None,
        interp: int | None = None,
    ) -> None:
        """Describe the rotation.

        Args:
            h: Image height in pixels.
            w: Image width.
            angle: Degrees, counter-clockwise.
            expand: Make the image large enough to show all of the rotated one; otherwise it keeps
                its size and loses its corners.
            center: XY pixels of the point that stays in place; None for the middle. Without effect
                when the image expands.
            interp: 0 nearest, 1 linear, 2 cubic (OpenCV's numbers), used for images; None for
                linear.
        """
        middle = np.array([w / 2, h / 2])
        turn = _rotation(angle)
        extent_wh = np.abs(turn) @ (w, h) if expand else (w, h)
        self.bound_w, self.bound_h = (round(float(length)) for length in extent_wh)
        fixed = middle if expand or center is None else np.asarray(center, dtype=np.float64)
        target = np.array([self.bound_w / 2, self.bound_h / 2]) if expand else fixed
        matrix = np.column_stack([turn, target - turn @ fixed])
        super().__init__(matrix, (self.bound_h, self.bound_w), interp)
        self.h, self.w, self.angle = h, w, angle
        self.expand, self.center = expand, center

    def inverse(self) -> AffineTransform:
        """Return the transform back; it cannot bring back what left the image."""
        return AffineTransform(_inverted(self.matrix), (self.h, self.w), self.interp)


def _rotation(angle: float) -> np.ndarray:
    """Return (2, 2) in image coordinates, where y points down; right angles are exact."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    if angle % 90 == 0:
        cos, sin = round(cos), round(sin)
    return np.array([[cos, sin], [-sin, cos]], dtype=np.float64)


def _inverted(matrix: np.ndarray) -> np.ndarray:
    turn_back = np.linalg.inv(matrix[:, :2])
    return np.column_stack([turn_back, -turn_back @ matrix[:, 2]])


def _checked(interp: int) -> int:
    if interp not in _TORCH_MODES:
        raise InvalidArgumentError(
            f"interp is 0 (nearest), 1 (linear) or 2 (cubic) when an image is rotated; "
            f"found {interp}."
        )
    return interp

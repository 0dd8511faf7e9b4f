"""Changing the values of an image; what is annotated on it stays where it is."""

from collections.abc import Callable

import numpy as np
from fvcore.transforms.transform import NoOpTransform, Transform
from PIL import Image

from d2seg.core.data.errors import InvalidArgumentError


class ColorTransform(Transform):
    """Apply a function to the image, an array."""

    def __init__(self, op: Callable[[np.ndarray], np.ndarray]) -> None:
        """Hold the function.

        Args:
            op: Takes an image (H, W, C) and returns one of the same size.

        Raises:
            ValueError: It cannot be called.
        """
        if not callable(op):
            raise InvalidArgumentError(f"op has to be a function; found a {type(op).__name__}.")
        super().__init__()
        self.op = op

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Return what the function makes of the image."""
        return self.op(img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Return the coordinates unchanged."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Return the label map unchanged."""
        return segmentation

    def inverse(self) -> Transform:
        """Return a transform that does nothing: positions did not change."""
        return NoOpTransform()


class PILColorTransform(ColorTransform):
    """Apply a function to the image as a Pillow image, such as one of ``PIL.ImageOps``."""

    def __init__(self, op: Callable[[Image.Image], Image.Image]) -> None:
        """Hold the function.

        Args:
            op: Takes a Pillow image and returns one of the same size.

        Raises:
            ValueError: It cannot be called.
        """
        super().__init__(op)  # type: ignore[arg-type]

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Return what the function makes of the image, (H, W) or (H, W, 3) uint8."""
        return np.asarray(super().apply_image(Image.fromarray(img)))  # type: ignore[arg-type]

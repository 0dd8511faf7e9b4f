"""Random changes of colour (SSD, arXiv:1512.02325, section 2.2)."""

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as colours

from d2seg.core.data.transforms import Transform


class ColorAugSSDTransform(Transform):
    """Changes brightness, contrast, saturation and hue, each with a chance of one half.

    Every image gets a draw of its own; boxes and masks stay as they are.

    Args:
        img_format: Order of the channels, ``BGR`` or ``RGB``.
        brightness_delta: Up to this much is added to all values, or taken from them.
        contrast_low: All values are multiplied by at least this.
        contrast_high: And at most this.
        saturation_low: Likewise saturation.
        saturation_high: Likewise.
        hue_delta: Hue turns by up to this many 180ths of the circle.
    """

    def __init__(
        self,
        img_format: str,
        brightness_delta: float = 32,
        contrast_low: float = 0.5,
        contrast_high: float = 1.5,
        saturation_low: float = 0.5,
        saturation_high: float = 1.5,
        hue_delta: float = 18,
    ) -> None:
        super().__init__()
        if img_format not in ("BGR", "RGB"):
            raise ValueError(f"The order of colours is 'BGR' or 'RGB'; found '{img_format}'.")
        self.is_rgb = img_format == "RGB"
        self.brightness = (-brightness_delta, brightness_delta)
        self.contrast = (contrast_low, contrast_high)
        self.saturation = (saturation_low, saturation_high)
        self.hue = (-hue_delta / 180, hue_delta / 180)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Return the coordinates as they are."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Return the classes as they are."""
        return segmentation

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Change the colours of an image.

        Args:
            img: (H, W, 3) uint8.
            interp: Not read.

        Returns:
            (H, W, 3) uint8.
        """
        rgb = img if self.is_rgb else img[:, :, ::-1]
        planes = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))
        changed = self._distort(planes).numpy().transpose(1, 2, 0)
        return np.ascontiguousarray(changed if self.is_rgb else changed[:, :, ::-1])

    def _distort(self, image: Tensor) -> Tensor:
        """Change an image (3, H, W) uint8, RGB."""
        contrast_first = _chance()
        image = _linear(image, 1.0, _draw(self.brightness, 0.0))
        if contrast_first:
            image = _linear(image, _draw(self.contrast, 1.0), 0.0)
        image = colours.adjust_saturation(image, _draw(self.saturation, 1.0))
        image = colours.adjust_hue(image, _draw(self.hue, 0.0))
        if not contrast_first:
            image = _linear(image, _draw(self.contrast, 1.0), 0.0)
        return image


def _chance() -> bool:
    return bool(np.random.rand() < 0.5)


def _draw(limits: tuple[float, float], unchanged: float) -> float:
    """Draw between the limits, or with a chance of one half return what changes nothing."""
    return float(np.random.uniform(*limits)) if _chance() else unchanged


def _linear(image: Tensor, factor: float, offset: float) -> Tensor:
    return (image.float() * factor + offset).clamp(0, 255).to(torch.uint8)

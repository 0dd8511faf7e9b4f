"""Policies that change brightness and colours."""

import numpy as np
from fvcore.transforms.transform import BlendTransform, Transform

from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.data.transforms.augmentation import Augmentation

_LUMA = (0.299, 0.587, 0.114)
"""How much red, green and blue contribute to grey (BT.601)."""

# Principal components of the colours of ImageNet (AlexNet, section 4.1): RGB by component.
_COLOUR_COMPONENTS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_COLOUR_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])


class _RandomBlend(Augmentation):
    """Move each value away from something, or towards it, by a random factor."""

    def __init__(self, intensity_min: float, intensity_max: float) -> None:
        """Describe the policy.

        Args:
            intensity_min: Least factor; below 1 reduces, 1 keeps, above 1 increases.
            intensity_max: Greatest factor.
        """
        self.intensity_min = intensity_min
        self.intensity_max = intensity_max

    def _blend_with(self, other: np.ndarray) -> Transform:
        factor = np.random.uniform(self.intensity_min, self.intensity_max)
        return BlendTransform(src_image=other, src_weight=1 - factor, dst_weight=factor)


class RandomContrast(_RandomBlend):
    """Scale the differences to the mean of the image."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """Choose the factor for an image (H, W) or (H, W, C)."""
        return self._blend_with(np.asarray(image.mean()))


class RandomBrightness(_RandomBlend):
    """Scale all values."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """Choose the factor for an image (H, W) or (H, W, C)."""
        return self._blend_with(np.asarray(0.0))


class RandomSaturation(_RandomBlend):
    """Scale the differences to the grey image; the channel order is taken to be RGB."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """Choose the factor for an image (H, W, 3)."""
        _require_three_channels(image, "RandomSaturation")
        return self._blend_with((image @ np.array(_LUMA))[:, :, None])


class RandomLighting(Augmentation):
    """Add a random colour along the directions in which colours vary in ImageNet; RGB."""

    def __init__(self, scale: float) -> None:
        """Describe the policy.

        Args:
            scale: Standard deviation of the factor of each direction. Directions are for values in
                0..1; multiply by 255 for uint8 images.
        """
        self.scale = scale

    def get_transform(self, image: np.ndarray) -> Transform:
        """Choose the colour for an image (H, W, 3)."""
        _require_three_channels(image, "RandomLighting")
        factors = np.random.normal(scale=self.scale, size=3)
        colour = _COLOUR_COMPONENTS @ (factors * _COLOUR_EIGENVALUES)
        return BlendTransform(src_image=colour, src_weight=1.0, dst_weight=1.0)


def _require_three_channels(image: np.ndarray, policy: str) -> None:
    if image.ndim != 3 or image.shape[2] != 3:
        raise InvalidArgumentError(
            f"{policy} needs an RGB image (H, W, 3); found shape {image.shape}."
        )

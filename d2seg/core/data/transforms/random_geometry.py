"""Policies that move, mirror or rotate an image, or that apply another one only sometimes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fvcore.transforms.transform import (
    HFlipTransform,
    NoOpTransform,
    Transform,
    VFlipTransform,
)

from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.data.transforms.augmentation import AugInput, Augmentation, as_augmentation
from d2seg.core.data.transforms.extent import ExtentTransform
from d2seg.core.data.transforms.warp import RotationTransform


class RandomApply(Augmentation):
    """Apply another policy with some probability."""

    def __init__(self, tfm_or_aug: Augmentation | Transform, prob: float = 0.5) -> None:
        """Describe the policy.

        Args:
            tfm_or_aug: What is applied or not.
            prob: In 0..1.

        Raises:
            ValueError: ``prob`` is not in 0..1.
        """
        if not 0.0 <= prob <= 1.0:
            raise InvalidArgumentError(f"prob is a probability, 0 to 1; found {prob}.")
        self.aug = as_augmentation(tfm_or_aug)
        self.prob = prob

    def get_transform(self, *args: Any) -> Transform:
        """Let the other policy choose, or do nothing.

        Args:
            *args: What the other policy looks at.
        """
        return self.aug.get_transform(*args) if self._decides_to() else NoOpTransform()

    def __call__(self, aug_input: AugInput) -> Transform:
        """Apply the other policy to ``aug_input``, or do nothing."""
        return self.aug(aug_input) if self._decides_to() else NoOpTransform()

    def _decides_to(self) -> bool:
        return bool(self._rand_range() < self.prob)


class RandomFlip(Augmentation):
    """Mirror an image with some probability."""

    def __init__(
        self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False
    ) -> None:
        """Describe the policy.

        Args:
            prob: In 0..1.
            horizontal: Mirror left to right.
            vertical: Mirror top to bottom.

        Raises:
            ValueError: Not exactly one of the two; use two policies for both.
        """
        if horizontal == vertical:
            raise InvalidArgumentError(
                "RandomFlip is either horizontal or vertical; found "
                f"{'both' if horizontal else 'neither'}. Use two policies to have both."
            )
        self.prob = prob
        self.horizontal, self.vertical = horizontal, vertical

    def get_transform(self, image: np.ndarray) -> Transform:
        """Choose for an image (H, W) or (H, W, C)."""
        if self._rand_range() >= self.prob:
            return NoOpTransform()
        height, width = image.shape[:2]
        return HFlipTransform(width) if self.horizontal else VFlipTransform(height)


class RandomRotation(Augmentation):
    """Rotate by a random angle."""

    def __init__(
        self,
        angle: float | Sequence[float],
        expand: bool = True,
        center: Sequence[Any] | None = None,
        sample_style: str = "range",
        interp: int | None = None,
    ) -> None:
        """Describe the policy.

        Args:
            angle: Degrees, counter-clockwise. With ``range`` the least and the greatest angle, with
                ``choice`` the angles to choose from; one number for always the same.
            expand: Make the image large enough to show all of the rotated one.
            center: The point that stays in place, XY as shares of the image size: (0, 0) is the
                upper left corner, (1, 1) the lower right. With ``range`` the least and the greatest
                point, with ``choice`` the points to choose from; one point for always the same;
                None for the middle. Without effect when the image expands.
            sample_style: ``range`` or ``choice``.
            interp: 0 nearest, 1 linear, 2 cubic (OpenCV's numbers); None for linear.

        Raises:
            ValueError: Another ``sample_style``.
        """
        if sample_style not in ("range", "choice"):
            raise InvalidArgumentError(
                f"sample_style is 'range' or 'choice'; found '{sample_style}'."
            )
        self.angle = (angle, angle) if isinstance(angle, int | float) else tuple(angle)
        self.expand = expand
        if center is not None and isinstance(center[0], int | float):
            center = (center, center)
        self.center = center
        self.is_range = sample_style == "range"
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """Choose the angle for an image (H, W) or (H, W, C)."""
        height, width = image.shape[:2]
        angle = float(self._sample(self.angle))
        center = None
        if self.center is not None:
            share_x, share_y = self._sample(self.center)
            center = (width * share_x, height * share_y)
        if angle % 360 == 0:
            return NoOpTransform()
        return RotationTransform(height, width, angle, self.expand, center, self.interp)

    def _sample(self, choices: Sequence[Any]) -> Any:
        if self.is_range:
            return np.random.uniform(*choices)
        return choices[np.random.choice(len(choices))]


class RandomExtent(Augmentation):
    """Show a part of the image, or more than it, somewhat off its middle; what is new is black."""

    def __init__(self, scale_range: tuple[float, float], shift_range: tuple[float, float]) -> None:
        """Describe the policy.

        Args:
            scale_range: Least and greatest size of the part, as a share of the image: 0.5 shows
                half of its width and height, 2 surrounds it with black.
            shift_range: How far the part is shifted at most to either side, x and y, in halves of
                the image size.
        """
        self.scale_range = scale_range
        self.shift_range = shift_range

    def get_transform(self, image: np.ndarray) -> Transform:
        """Choose the part of an image (H, W) or (H, W, C)."""
        size_wh = np.array(image.shape[1::-1], dtype=np.float64)
        part_wh = size_wh * np.random.uniform(*self.scale_range)
        shift_xy = size_wh * self.shift_range * (np.random.rand(2) - 0.5)
        left, top = (size_wh - part_wh) / 2 + shift_xy
        right, bottom = (size_wh + part_wh) / 2 + shift_xy
        return ExtentTransform((left, top, right, bottom), (int(bottom - top), int(right - left)))

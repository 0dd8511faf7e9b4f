"""Policies that change the size of an image."""

import sys
from collections.abc import Sequence

import numpy as np
from fvcore.transforms.transform import NoOpTransform, Transform
from PIL import Image

from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.data.transforms.augmentation import Augmentation
from d2seg.core.data.transforms.resize import ResizeTransform


class Resize(Augmentation):
    """Stretch to a given size."""

    def __init__(
        self, shape: int | tuple[int, int] | list[int], interp: int = Image.Resampling.BILINEAR
    ) -> None:
        """Describe the policy.

        Args:
            shape: Height and width in pixels, or one number for both.
            interp: A Pillow resampling filter.
        """
        self.shape = (shape, shape) if isinstance(shape, int) else tuple(shape)
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """Return the transform for an image (H, W) or (H, W, C)."""
        return _resize(image, self.shape, self.interp)


class RandomResize(Augmentation):
    """Stretch to one of several sizes."""

    def __init__(
        self, shape_list: Sequence[tuple[int, int]], interp: int = Image.Resampling.BILINEAR
    ) -> None:
        """Describe the policy.

        Args:
            shape_list: Heights and widths in pixels to choose from.
            interp: A Pillow resampling filter.
        """
        self.shape_list = shape_list
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """Choose the size of an image (H, W) or (H, W, C)."""
        new_hw = self.shape_list[np.random.choice(len(self.shape_list))]
        return _resize(image, new_hw, self.interp)


class ResizeScale(Augmentation):
    """Scale to fit into a window whose size varies, as in large-scale jittering."""

    def __init__(
        self,
        min_scale: float,
        max_scale: float,
        target_height: int,
        target_width: int,
        interp: int = Image.Resampling.BILINEAR,
    ) -> None:
        """Describe the policy.

        Args:
            min_scale: Least size of the window, as a share of the target.
            max_scale: Its greatest size.
            target_height: Height of the window at scale 1, in pixels.
            target_width: Its width.
            interp: A Pillow resampling filter.
        """
        self.min_scale, self.max_scale = min_scale, max_scale
        self.target_height, self.target_width = target_height, target_width
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """Choose the size of an image (H, W) or (H, W, C); the aspect ratio is kept."""
        scale = np.random.uniform(self.min_scale, self.max_scale)
        old_hw = np.array(image.shape[:2])
        window_hw = np.array([self.target_height, self.target_width]) * scale
        new_hw = np.round(old_hw * (window_hw / old_hw).min()).astype(int)
        # A thread-like image would lose its shorter edge altogether.
        return _resize(image, np.maximum(new_hw, 1).tolist(), self.interp)


class _ShortestEdgePolicy(Augmentation):
    """Resize the shorter edge to a length, unless the longer edge would exceed its limit."""

    def __init__(
        self,
        short_edge_length: int | tuple[int, ...] | list[int],
        max_size: int = sys.maxsize,
        sample_style: str = "range",
        interp: int = Image.Resampling.BILINEAR,
    ) -> None:
        """Describe the policy.

        Args:
            short_edge_length: Pixels. With ``range`` the least and the greatest length, with
                ``choice`` the lengths to choose from; one number for always the same. The length
                0 leaves the image as it is.
            max_size: The longer edge is at most this; the aspect ratio is kept.
            sample_style: ``range`` or ``choice``.
            interp: A Pillow resampling filter.

        Raises:
            ValueError: Another ``sample_style``, or a range that is not two lengths in order.
        """
        if isinstance(short_edge_length, int):
            short_edge_length = (short_edge_length, short_edge_length)
        lengths = tuple(short_edge_length)
        if sample_style not in ("range", "choice"):
            raise InvalidArgumentError(
                f"sample_style is 'range' or 'choice'; found '{sample_style}'."
            )
        if sample_style == "range" and (len(lengths) != 2 or lengths[0] > lengths[1]):
            raise InvalidArgumentError(
                "With sample_style 'range' short_edge_length is the least and the greatest length; "
                f"found {lengths}."
            )
        if not lengths:
            raise InvalidArgumentError("short_edge_length needs at least one length; found none.")
        self.short_edge_length = lengths
        self.max_size = max_size
        self.is_range = sample_style == "range"
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """Choose the size of this image.

        Args:
            image: (H, W) or (H, W, C).
        """
        height, width = image.shape[:2]
        length = self._sample_length()
        if length == 0:
            return NoOpTransform()
        new_hw = self.get_output_shape(height, width, length, self.max_size)
        return ResizeTransform(height, width, *new_hw, self.interp)

    def _sample_length(self) -> int:
        if self.is_range:
            return int(np.random.randint(self.short_edge_length[0], self.short_edge_length[1] + 1))
        return int(np.random.choice(self.short_edge_length))

    @staticmethod
    def get_output_shape(
        oldh: int, oldw: int, short_edge_length: int, max_size: int
    ) -> tuple[int, int]:
        """Compute the new height and width.

        Args:
            oldh: Height in pixels.
            oldw: Width in pixels.
            short_edge_length: Wanted length of the shorter edge.
            max_size: Limit of the longer edge.
        """
        # Float steps in this order: the size decides every number after it, to the pixel.
        short, long = (
            float(short_edge_length),
            short_edge_length / min(oldh, oldw) * max(oldh, oldw),
        )
        if long > max_size:
            shrink = max_size / long
            short, long = short * shrink, long * shrink
        new_short, new_long = int(short + 0.5), int(long + 0.5)
        return (new_short, new_long) if oldh < oldw else (new_long, new_short)


class ResizeShortestEdge(_ShortestEdgePolicy):
    """Resize the shorter edge to a length, unless the longer edge would exceed its limit."""

    # Empty, because TorchScript, when it meets ResizeShortestEdge.get_output_shape in a function,
    # compiles everything that stands in this class, and only that.


def _resize(image: np.ndarray, new_hw: Sequence[int], interp: int) -> ResizeTransform:
    height, width = image.shape[:2]
    new_h, new_w = new_hw
    return ResizeTransform(height, width, new_h, new_w, interp)

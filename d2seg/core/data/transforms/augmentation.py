"""From an image to the transform that shall be applied to it."""

import sys
from abc import ABC, abstractmethod

import numpy as np
from fvcore.transforms.transform import NoOpTransform, Transform
from PIL import Image

from d2seg.core.data.transforms.resize import ResizeTransform


class Augmentation(ABC):
    """A policy, random or not, that looks at an image and chooses a transform for it."""

    @abstractmethod
    def get_transform(self, image: np.ndarray) -> Transform:
        """Choose a transform.

        Args:
            image: (H, W) or (H, W, C).
        """


class ResizeShortestEdge(Augmentation):
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
            raise ValueError(f"sample_style is 'range' or 'choice'; found '{sample_style}'.")
        if sample_style == "range" and (len(lengths) != 2 or lengths[0] > lengths[1]):
            raise ValueError(
                "With sample_style 'range' short_edge_length is the least and the greatest length; "
                f"found {lengths}."
            )
        if not lengths:
            raise ValueError("short_edge_length needs at least one length; found none.")
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

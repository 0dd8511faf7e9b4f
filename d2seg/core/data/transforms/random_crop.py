"""Policies that cut a part out of an image."""

from collections.abc import Sequence

import numpy as np
import torch
from fvcore.transforms.transform import (
    CropTransform,
    NoOpTransform,
    PadTransform,
    Transform,
    TransformList,
)

from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.data.transforms.augmentation import Augmentation
from d2seg.core.structures import Boxes, pairwise_iou

CROP_TYPES = ("relative_range", "relative", "absolute", "absolute_range")

_CATEGORY_TRIALS = 10


class RandomCrop(Augmentation):
    """Cut out a rectangle at a random place."""

    def __init__(self, crop_type: str, crop_size: tuple[float, float]) -> None:
        """Describe the policy.

        Args:
            crop_type: How large the rectangle is:
                ``relative``, shares (0 to 1) of the image's height and width;
                ``relative_range``, shares drawn from ``crop_size`` to 1;
                ``absolute``, height and width in pixels, or of the image where it is smaller;
                ``absolute_range``, both drawn from ``crop_size[0]`` to ``crop_size[1]`` pixels.
            crop_size: Two numbers, as ``crop_type`` says.

        Raises:
            ValueError: Another ``crop_type``, or a range that is not in order.
        """
        if crop_type not in CROP_TYPES:
            raise InvalidArgumentError(
                f"crop_type is one of {', '.join(CROP_TYPES)}; found '{crop_type}'."
            )
        if crop_type == "absolute_range" and crop_size[0] > crop_size[1]:
            raise InvalidArgumentError(
                "With crop_type 'absolute_range' crop_size is the least and the greatest length; "
                f"found {crop_size}."
            )
        self.crop_type = crop_type
        self.crop_size = crop_size

    def get_transform(self, image: np.ndarray) -> Transform:
        """Choose the rectangle in an image (H, W) or (H, W, C)."""
        height, width = image.shape[:2]
        crop_h, crop_w = self.get_crop_size((height, width))
        if crop_h > height or crop_w > width:
            raise InvalidArgumentError(
                f"A crop of height {crop_h} and width {crop_w} does not fit into an image of "
                f"height {height} and width {width}; relative sizes are at most 1."
            )
        top = int(np.random.randint(height - crop_h + 1))
        left = int(np.random.randint(width - crop_w + 1))
        return CropTransform(left, top, crop_w, crop_h)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Choose the size of the rectangle.

        Args:
            image_size: Image height and width in pixels.

        Returns:
            Its height and width in pixels.
        """
        if self.crop_type.startswith("relative"):
            crop_hw = np.array(image_size) * self._shares() + 0.5
            return int(crop_hw[0]), int(crop_hw[1])
        first, second = (int(length) for length in self.crop_size)
        height, width = image_size
        if self.crop_type == "absolute":
            return min(first, height), min(second, width)
        return self._length_within(height), self._length_within(width)

    def _shares(self) -> np.ndarray:
        least = np.array(self.crop_size, dtype=np.float32)
        if self.crop_type == "relative":
            return np.array(self.crop_size, dtype=np.float64)
        return least + np.random.rand(2) * (1 - least)

    def _length_within(self, limit: int) -> int:
        least, greatest = (min(int(length), limit) for length in self.crop_size)
        return int(np.random.randint(least, greatest + 1))


class RandomCrop_CategoryAreaConstraint(Augmentation):
    """Cut out a rectangle in which no category takes up too much, if a few trials find one."""

    def __init__(
        self,
        crop_type: str,
        crop_size: tuple[float, float],
        single_category_max_area: float = 1.0,
        ignored_category: int | None = None,
    ) -> None:
        """Describe the policy.

        Args:
            crop_type: As in :class:`RandomCrop`.
            crop_size: As in :class:`RandomCrop`.
            single_category_max_area: The largest category covers less than this share of the
                labelled pixels; 1 for no limit.
            ignored_category: The label of pixels that do not count.
        """
        self.crop_aug = RandomCrop(crop_type, crop_size)
        self.single_category_max_area = single_category_max_area
        self.ignored_category = ignored_category

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray) -> Transform:
        """Choose the rectangle; the last trial counts if none is good.

        Args:
            image: (H, W) or (H, W, C).
            sem_seg: (H, W) integer labels.
        """
        crop = self.crop_aug.get_transform(image)
        for _ in range(_CATEGORY_TRIALS - 1):
            if self._is_balanced(crop.apply_segmentation(sem_seg)):
                break
            crop = self.crop_aug.get_transform(image)
        return crop

    def _is_balanced(self, labels: np.ndarray) -> bool:
        if self.single_category_max_area >= 1.0:
            return True
        values, counts = np.unique(labels, return_counts=True)
        counts = counts[values != self.ignored_category]
        return len(counts) > 1 and counts.max() < counts.sum() * self.single_category_max_area


class FixedSizeCrop(Augmentation):
    """Cut at a random place what is larger than a size, pad at right and bottom what is smaller."""

    def __init__(
        self,
        crop_size: tuple[int, int],
        pad: bool = True,
        pad_value: float = 128.0,
        seg_pad_value: int = 255,
    ) -> None:
        """Describe the policy.

        Args:
            crop_size: Height and width in pixels.
            pad: False leaves smaller images as small as they are.
            pad_value: What new pixels of the image get.
            seg_pad_value: What new pixels of label maps get.
        """
        self.crop_size = crop_size
        self.pad = pad
        self.pad_value = pad_value
        self.seg_pad_value = seg_pad_value

    def get_transform(self, image: np.ndarray) -> TransformList:
        """Choose the place in an image (H, W) or (H, W, C)."""
        height, width = image.shape[:2]
        kept_h, kept_w = min(height, self.crop_size[0]), min(width, self.crop_size[1])
        top, left = np.round(np.random.uniform() * np.array([height - kept_h, width - kept_w]))
        steps = [CropTransform(int(left), int(top), kept_w, kept_h, width, height)]
        if self.pad:
            steps.append(self._padding(kept_h, kept_w))
        return TransformList(steps)

    def _padding(self, height: int, width: int) -> Transform:
        missing_h, missing_w = self.crop_size[0] - height, self.crop_size[1] - width
        return PadTransform(
            0, 0, missing_w, missing_h, width, height, self.pad_value, self.seg_pad_value
        )


class MinIoURandomCrop(Augmentation):
    """Cut out a rectangle that overlaps every box enough (SSD, section 2.2).

    Each time one of these is chosen: the whole image, a crop that overlaps each box with at least
    one of the IoUs, or any crop. Boxes whose centre is outside are still to be removed.
    """

    def __init__(
        self,
        min_ious: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
        min_crop_size: float = 0.3,
        mode_trials: int = 1000,
        crop_trials: int = 50,
    ) -> None:
        """Describe the policy.

        Args:
            min_ious: The IoUs to choose from.
            min_crop_size: Least height and width of a crop, as a share of the image's.
            mode_trials: How often an IoU is chosen before the whole image is taken.
            crop_trials: How many rectangles are tried for each.
        """
        self.min_ious = min_ious
        self.sample_mode = (1, *min_ious, 0)
        self.min_crop_size = min_crop_size
        self.mode_trials = mode_trials
        self.crop_trials = crop_trials

    def get_transform(self, image: np.ndarray, boxes: np.ndarray | None) -> Transform:
        """Choose the rectangle.

        Args:
            image: (H, W) or (H, W, C).
            boxes: (N, 4) float, XYXY pixels; with None the image stays whole.
        """
        if boxes is None:
            return NoOpTransform()
        for _ in range(self.mode_trials):
            min_iou = np.random.choice(self.sample_mode)
            if min_iou == 1:
                return NoOpTransform()
            for _ in range(self.crop_trials):
                crop = self._sample_crop(*image.shape[:2])
                if crop is not None and _keeps_boxes(crop, boxes, min_iou):
                    return crop
        return NoOpTransform()

    def _sample_crop(self, height: int, width: int) -> CropTransform | None:
        crop_w = np.random.uniform(self.min_crop_size * width, width)
        crop_h = np.random.uniform(self.min_crop_size * height, height)
        if not 0.5 <= crop_h / crop_w <= 2:
            return None
        left, top = np.random.uniform(width - crop_w), np.random.uniform(height - crop_h)
        x0, y0 = int(left), int(top)
        crop = CropTransform(x0, y0, int(left + crop_w) - x0, int(top + crop_h) - y0)
        return crop if crop.w > 0 and crop.h > 0 else None


def _keeps_boxes(crop: CropTransform, boxes: np.ndarray, min_iou: float) -> bool:
    """Tell whether a crop overlaps each box enough and holds the centre of one."""
    if len(boxes) == 0:
        return True
    window = [crop.x0, crop.y0, crop.x0 + crop.w, crop.y0 + crop.h]
    if pairwise_iou(Boxes([window]), Boxes(torch.from_numpy(boxes))).min() < min_iou:
        return False
    centres_xy = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (centres_xy > window[:2]) & (centres_xy < window[2:])
    return bool(inside.all(axis=1).any())

"""Masks of the objects of one image, kept small until their pixels are asked for.

Both kinds can be told to give pixels or run lengths, and both take an index like a tensor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as coco_mask
from torch import Tensor

from d2seg.core.ops.masks import paste_masks_whole_pixels, whole_pixel_corners
from d2seg.postprocess import paste_masks

Index = Tensor | slice
"""A slice, (N,) bool, or (M,) int64."""


class Window(NamedTuple):
    """The part of an image in which a mask lies.

    Attributes:
        pixels: (h, w) bool; h and w may be 0.
        origin_xy: Column and row of the first pixel in the image.
    """

    pixels: Tensor
    origin_xy: tuple[int, int]


class Masks(Protocol):
    """What the masks of an image can be asked for."""

    def __len__(self) -> int:
        """Count the objects."""

    def __getitem__(self, index: Index) -> "Masks":
        """Keep some objects."""

    def paste(self, threshold: float) -> Tensor:
        """Return the pixels of all objects: (N, height, width) bool, see `paste_masks`."""

    def windows(self, threshold: float) -> Iterator[Window]:
        """Yield the surroundings of one object after the other as pixels."""

    def rle(self, threshold: float) -> list[dict[str, Any]]:
        """Return COCO's compressed run lengths, one object after the other."""


@dataclass(frozen=True, eq=False)
class BoxMasks:
    """Probabilities within the boxes: their memory does not depend on the size of the image.

    Attributes:
        probs: (N, h, w) float in [0, 1], such as (N, 28, 28).
        boxes: (N, 4) float, XYXY pixels of the image.
        size_hw: Height and width of the image.
        whole_pixels: Whether they are pasted into whole pixels, as the first Detectron did.
    """

    probs: Tensor
    boxes: Tensor
    size_hw: tuple[int, int]
    whole_pixels: bool = False

    def __len__(self) -> int:
        """Count the objects."""
        return len(self.probs)

    def __getitem__(self, index: Index) -> "BoxMasks":
        """Keep some objects."""
        return replace(self, probs=self.probs[index], boxes=self.boxes[index])

    def paste(self, threshold: float) -> Tensor:
        """Resize each mask to its box, and place it in the image."""
        paste = paste_masks_whole_pixels if self.whole_pixels else paste_masks
        return paste(self.probs, self.boxes, self.size_hw, threshold)

    def windows(self, threshold: float) -> Iterator[Window]:
        """Yield the pixels of each box and one more on every side, less what is outside."""
        if self.whole_pixels:
            corners = whole_pixel_corners(self.boxes, self.probs.shape[2])
        else:
            ends = [self.boxes[:, :2].floor() - 1, self.boxes[:, 2:].ceil() + 1]
            corners = torch.cat(ends, 1).long()
        height, width = self.size_hw
        limits = torch.tensor([width, height, width, height])
        for row, window in enumerate(corners.clamp(min=0).minimum(limits).tolist()):
            yield self._window(row, window, threshold)

    def rle(self, threshold: float) -> list[dict[str, Any]]:
        """Compress the masks; only the surroundings of one box are held as pixels at a time."""
        return [encode_window(*window, self.size_hw) for window in self.windows(threshold)]

    def _window(self, row: int, window: list[int], threshold: float) -> Window:
        left, top, right, bottom = window
        if right <= left or bottom <= top:
            return Window(torch.zeros(0, 0, dtype=torch.bool), (0, 0))
        probs, box = self.probs[row : row + 1], self.boxes[row : row + 1]
        size_hw, origin_xy = (bottom - top, right - left), (left, top)
        if self.whole_pixels:
            pasted = paste_masks_whole_pixels(probs, box, size_hw, threshold, origin_xy)
        else:
            # In the window's own pixels the box is exact still: whole numbers are taken off.
            pasted = paste_masks(probs, box - torch.tensor(origin_xy * 2), size_hw, threshold)
        return Window(pasted[0], origin_xy)


@dataclass(frozen=True, eq=False)
class ImageMasks:
    """Masks that a model gave in the size of the image, kept as run lengths.

    The threshold was the model's: asking for another one, or for soft masks, is an error.

    Attributes:
        runs: COCO's compressed run lengths.
        size_hw: Height and width of the image.
        threshold: Probability from which a pixel was taken to belong to the object.
    """

    runs: Sequence[dict[str, Any]]
    size_hw: tuple[int, int]
    threshold: float = 0.5

    @classmethod
    def from_pixels(
        cls, masks: Tensor, size_hw: tuple[int, int], threshold: float = 0.5
    ) -> "ImageMasks":
        """Compress masks, after resizing them if they are of another size.

        Args:
            masks: (N, h, w) bool, or float probabilities.
            size_hw: Height and width of the image.
            threshold: Probability from which a pixel belongs to the object.
        """
        runs = [encode_window(_resize(one, size_hw, threshold), (0, 0), size_hw) for one in masks]
        return cls(runs, size_hw, threshold)

    def __len__(self) -> int:
        """Count the objects."""
        return len(self.runs)

    def __getitem__(self, index: Index) -> "ImageMasks":
        """Keep some objects."""
        rows = torch.arange(len(self))[index].tolist()
        return ImageMasks([self.runs[row] for row in rows], self.size_hw, self.threshold)

    def paste(self, threshold: float) -> Tensor:
        """Decompress the masks."""
        self._check(threshold)
        pixels = torch.zeros((len(self), *self.size_hw), dtype=torch.bool)
        for row, run in enumerate(self.runs):
            pixels[row] = torch.from_numpy(coco_mask.decode(run))
        return pixels

    def windows(self, threshold: float) -> Iterator[Window]:
        """Yield the smallest part of the image that has all pixels of a mask."""
        self._check(threshold)
        for run in self.runs:
            left, top, width, height = (int(side) for side in coco_mask.toBbox(run))
            pixels = coco_mask.decode(run)[top : top + height, left : left + width]
            yield Window(torch.from_numpy(pixels.astype(bool)), (left, top))

    def rle(self, threshold: float) -> list[dict[str, Any]]:
        """Return what is kept."""
        self._check(threshold)
        return [dict(run) for run in self.runs]

    def _check(self, threshold: float) -> None:
        if threshold != self.threshold:
            raise ValueError(
                f"The threshold is {threshold}, but this model gives finished masks, with "
                f"{self.threshold}; leave the threshold out."
            )


def encode_window(
    window: Tensor, origin_xy: tuple[int, int], size_hw: tuple[int, int]
) -> dict[str, Any]:
    """Compress a mask that is empty outside of a window to COCO's run lengths.

    Args:
        window: (h, w) bool.
        origin_xy: Column and row of its first pixel in the image.
        size_hw: Height and width of the image.

    Returns:
        ``size`` and ``counts``, a text that JSON can hold: the same as for the whole mask.
    """
    height, width = size_hw
    columns = np.pad(window.numpy().T.astype(np.int8), ((0, 0), (1, 1)))
    steps = np.diff(columns, axis=1)  # [w,h+1]: 1 where a run starts, -1 behind its end
    starts, ends = (
        (origin_xy[0] + column) * height + origin_xy[1] + row
        for column, row in (np.nonzero(steps == 1), np.nonzero(steps == -1))
    )
    # A run that reaches the bottom of the image may go on at the top of the next column.
    parted = starts[1:] != ends[:-1]
    starts, ends = np.r_[starts[:1], starts[1:][parted]], np.r_[ends[:-1][parted], ends[-1:]]
    turns = np.stack([starts, ends], axis=1).reshape(-1)
    counts = np.diff(np.r_[0, turns, height * width])
    if len(turns) and counts[-1] == 0:
        counts = counts[:-1]
    runs = {"size": [height, width], "counts": counts.tolist()}
    encoded = coco_mask.frPyObjects(runs, height, width)
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}


def _resize(mask: Tensor, size_hw: tuple[int, int], threshold: float) -> Tensor:
    """Bring (h, w), bool or probabilities, to (height, width) bool."""
    if tuple(mask.shape) == size_hw:
        return mask if mask.dtype == torch.bool else mask >= threshold
    limit = 0.5 if mask.dtype == torch.bool else threshold
    soft = F.interpolate(mask.float()[None, None], size_hw, mode="bilinear", align_corners=False)
    return soft[0, 0] >= limit

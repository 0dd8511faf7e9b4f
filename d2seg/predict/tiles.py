"""Images that are larger than a network likes, cut into tiles."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from d2seg.predict.images import SizeHW
from d2seg.predict.masks import ImageMasks, encode_window
from d2seg.predict.prediction import Prediction, concatenate
from d2seg.predict.seams import join_finds

FindAll = Callable[[Sequence[np.ndarray]], list[Prediction]]
"""From images (H, W, 3) uint8 to what was found in each."""


class Tiles:
    """Cuts an image into tiles that overlap, and joins what is found in them.

    Where tiles overlap an object is found twice, and one that a tile cuts off is found in parts;
    see :func:`d2seg.predict.seams.join_finds`. Masks stay run lengths all the time.

    Args:
        tile_hw: Height and width of a tile.
        overlap: The share of a tile that it has in common with the next one, at least.

    Raises:
        ValueError: A number is out of its range.
    """

    def __init__(self, tile_hw: SizeHW, overlap: float) -> None:
        if len(tile_hw) != 2 or min(tile_hw) < 1:
            raise ValueError(
                f"tile_hw (--tile) is {tile_hw}, but must be a positive height and width."
            )
        if not 0 <= overlap <= 0.9:
            raise ValueError(f"tile_overlap (--tile-overlap) is {overlap}, but must lie in 0..0.9.")
        self._tile_hw = tile_hw
        self._overlap = overlap

    def run(self, find: FindAll, image: np.ndarray, batch_size: int) -> Prediction:
        """Find the objects of an image.

        Args:
            find: Runs the model.
            image: (H, W, 3) uint8, in whatever order ``find`` takes.
            batch_size: How many tiles are given to ``find`` at a time.
        """
        size_hw = (image.shape[0], image.shape[1])
        boxes = list(self.boxes_xyxy(size_hw))
        if len(boxes) == 1:
            return find([image])[0]
        found: list[Prediction] = []
        for start in range(0, len(boxes), batch_size):
            batch = boxes[start : start + batch_size]
            finds = find([image[top:bottom, left:right] for left, top, right, bottom in batch])
            found += [_move(one, box[:2], size_hw) for one, box in zip(finds, batch, strict=True)]
        tiles = np.repeat(np.arange(len(boxes)), [len(one) for one in found])
        return join_finds(concatenate(found), tiles, np.array(boxes))

    def boxes_xyxy(self, size_hw: SizeHW) -> Iterator[tuple[int, int, int, int]]:
        """Yield where the tiles are: all of one size, evenly spread, row by row."""
        tops, lefts = (
            self._starts(side, tile) for side, tile in zip(size_hw, self._tile_hw, strict=True)
        )
        height, width = (min(side) for side in zip(size_hw, self._tile_hw, strict=True))
        for top in tops:
            for left in lefts:
                yield left, top, left + width, top + height

    def _starts(self, side: int, tile: int) -> list[int]:
        if side <= tile:
            return [0]
        step = max(tile * (1 - self._overlap), 1)
        number = int(np.ceil((side - tile) / step)) + 1
        starts: list[int] = np.linspace(0, side - tile, number).round().astype(int).tolist()
        return starts


def _move(found: Prediction, origin_xy: tuple[int, ...], size_hw: SizeHW) -> Prediction:
    """Bring what was found in a tile into the image."""
    left, top = origin_xy
    masks, keypoints = None, found.keypoints
    if found.mask_source is not None:
        runs = [
            encode_window(pixels, (left + x, top + y), size_hw)
            for pixels, (x, y) in found.mask_source.windows(found.mask_threshold)
        ]
        masks = ImageMasks(runs, size_hw, found.mask_threshold)
    if keypoints is not None:
        keypoints = keypoints + torch.tensor([left, top, 0.0])
    boxes = found.boxes + torch.tensor([left, top, left, top])
    return replace(found, boxes=boxes, keypoints=keypoints, mask_source=masks, image_size=size_hw)

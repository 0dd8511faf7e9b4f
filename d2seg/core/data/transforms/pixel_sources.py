"""Which pixel of a label map each pixel shows after transforms that keep rows and columns."""

from functools import lru_cache

import numpy as np
from fvcore.transforms.transform import (
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    Transform,
    TransformList,
    VFlipTransform,
)
from PIL import Image

from d2seg.core.data.transforms.resize import ResizeTransform


def pixel_sources(
    transform: Transform, size_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Say where the pixels of a label map come from.

    ``transform.apply_segmentation(labels)`` is then ``labels[rows][:, columns]`` for labels of type
    uint8, which can be taken from the part of the map that matters.

    Args:
        transform: What is done to the map.
        size_hw: Height and width of the map before it.

    Returns:
        Rows (H,) and columns (W,) int64, each ascending or descending. None if the transform
        resizes maps of another size, or is more than resizing, flipping and cropping.
    """
    rows, columns = np.arange(size_hw[0]), np.arange(size_hw[1])
    for step in transform.transforms if isinstance(transform, TransformList) else [transform]:
        kind = type(step)  # of a subclass nothing is known
        if kind is HFlipTransform:
            columns = columns[::-1]
        elif kind is VFlipTransform:
            rows = rows[::-1]
        elif kind is CropTransform:
            rows = rows[step.y0 : step.y0 + step.h]
            columns = columns[step.x0 : step.x0 + step.w]
        elif kind is ResizeTransform and (step.h, step.w) == (len(rows), len(columns)):
            rows, columns = (
                rows[_nearest(step.h, step.new_h)],
                columns[_nearest(step.w, step.new_w)],
            )
        elif kind is not NoOpTransform:
            return None
    return rows, columns


@lru_cache(maxsize=256)
def _nearest(before: int, after: int) -> np.ndarray:
    """Return the positions (after,) that Pillow takes when it resizes a line without mixing."""
    line = Image.fromarray(np.arange(before, dtype=np.int32)[None])
    return np.array(line.resize((after, 1), Image.Resampling.NEAREST))[0]

"""COCO's panoptic format: segment ids as the colours of a PNG file."""

import io
import os

import numpy as np
from PIL import Image

from d2seg.core.data.images import read_image

__all__ = ["encode_png", "ids_from_rgb", "read_ids", "rgb_from_ids"]


def rgb_from_ids(ids: np.ndarray) -> np.ndarray:
    """Write segment ids as colours.

    Args:
        ids: (H, W) int in [0, 256^3).

    Returns:
        (H, W, 3) uint8; the id is R + 256 G + 256^2 B.

    Raises:
        ValueError: An id does not fit.
    """
    ids = np.asarray(ids)
    if ids.size and not 0 <= ids.min() <= ids.max() < 256**3:
        raise ValueError(f"Segment ids must be in [0, {256**3}); found {ids.min()} to {ids.max()}.")
    return np.stack([(ids >> shift) & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


def ids_from_rgb(rgb: np.ndarray) -> np.ndarray:
    """Read segment ids from colours (H, W, 3) uint8; returns (H, W) int64."""
    return np.asarray(rgb).astype(np.int64) @ np.array([1, 256, 256**2])


def encode_png(ids: np.ndarray) -> bytes:
    """Return a PNG file of segment ids, (H, W) int."""
    buffer = io.BytesIO()
    Image.fromarray(rgb_from_ids(ids)).save(buffer, format="PNG")
    return buffer.getvalue()


def read_ids(file_name: str | os.PathLike[str]) -> np.ndarray:
    """Read the segment ids (H, W) int64 of a PNG file: a path or an address."""
    return ids_from_rgb(read_image(file_name, "RGB"))

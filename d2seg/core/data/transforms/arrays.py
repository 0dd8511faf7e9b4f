"""Images of any type as float planes for torch, and back."""

import numpy as np
import torch
from torch import Tensor


def to_planes(img: np.ndarray) -> Tensor:
    """Turn an image into what torch interpolates.

    Args:
        img: (H, W) or (H, W, C), of any real type. Not modified.

    Returns:
        (1, C, H, W); float32 and float64 stay what they are, everything else becomes float64, which
        holds every label of an integer map exactly.
    """
    keeps_type = img.dtype in (np.float32, np.float64)
    numbers = torch.from_numpy(np.array(img, dtype=img.dtype if keeps_type else np.float64))
    return numbers.reshape(*img.shape[:2], -1).permute(2, 0, 1)[None]


def from_planes(planes: Tensor, like: np.ndarray) -> np.ndarray:
    """Turn planes back into an image.

    Args:
        planes: (1, C, H', W').
        like: The image before: its type and number of dimensions are restored.

    Returns:
        (H', W') or (H', W', C); integers are rounded and kept within the range of their type.
    """
    numbers = planes[0].permute(1, 2, 0).numpy()
    numbers = numbers.reshape(*numbers.shape[:2], *like.shape[2:])
    if np.issubdtype(like.dtype, np.floating):
        return numbers.astype(like.dtype)
    if like.dtype == np.bool_:
        return numbers >= 0.5
    limits = np.iinfo(like.dtype)
    return np.rint(numbers).clip(limits.min, limits.max).astype(like.dtype)

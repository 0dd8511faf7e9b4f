"""Several pictures on one, as notebooks show them."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.utils import make_grid

CELL_PIXELS = 500
GAP_PIXELS = 4


def make_picture_grid(rows: Sequence[Sequence[np.ndarray]], cell: int = CELL_PIXELS) -> np.ndarray:
    """Lay pictures out in rows of square cells, each as large as it fits, on black.

    Args:
        rows: Pictures (H, W, 3) uint8 RGB, at least one; a short row ends with empty cells.
        cell: Height and width of a cell, in pixels.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    columns = max(map(len, rows))
    empty = np.zeros((cell, cell, 3), np.uint8)
    cells = []
    for row in rows:
        fitted = [ImageOps.pad(Image.fromarray(picture), (cell, cell)) for picture in row]
        cells += [*map(np.asarray, fitted), *[empty] * (columns - len(row))]
    stacked = torch.from_numpy(np.stack(cells)).permute(0, 3, 1, 2)
    grid: torch.Tensor = make_grid(stacked, nrow=columns, padding=GAP_PIXELS)
    return np.ascontiguousarray(grid.permute(1, 2, 0).numpy())

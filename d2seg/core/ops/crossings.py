"""Pasting masks on a CPU: where each column crosses the threshold, instead of what each pixel is.

Between two rows of a mask, bilinear interpolation changes linearly from top to bottom. It is enough
to know at which height a column of pixels reaches the threshold, and whether it rises or falls
there; a pixel is then one comparison of its height. What takes time is to write the result, whose
pages the system provides when they are first written to. Each mask is one thread's work, so that
threads do not wait for each other.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_FEW_PIXELS = 2**17
"""So few are compared at once, each with a copy of what its row is compared with."""

_WORTH_THREADS = 2**24
"""Pixels of all masks from which on several threads paste them."""


@torch.jit.unused
def paste_by_crossings(
    masks: Tensor, boxes: Tensor, windows: list[list[int]], pasted: Tensor, threshold: float
) -> None:
    """Write what is at or above a threshold.

    Args:
        masks: (N, h, w) float probabilities in [0, 1], on the CPU.
        boxes: (N, 4) float, XYXY absolute pixels.
        windows: X0, y0, x1, y1 of the pixels of each that can be reached, within the image.
        pasted: (N, height, width) bool, False; is written to.
        threshold: Above 0.
    """
    ringed = np.pad(masks.detach().float().numpy(), ((0, 0), (1, 1), (1, 1)))
    corners: list[list[float]] = boxes.detach().double().tolist()
    targets = pasted.numpy()

    def paste(index: int) -> None:
        x0, y0, x1, y1 = windows[index]
        if x1 <= x0 or y1 <= y0:
            return
        mask, (left, top, right, bottom) = ringed[index], corners[index]
        columns = _cells(left, right, x0, x1, mask.shape[1] - 2)
        rows = _cells(top, bottom, y0, y1, mask.shape[0] - 2)
        if columns is not None and rows is not None:
            _fill(mask, columns, rows, targets[index, y0:y1, x0:x1], threshold)

    pixels = sum(max(0, x1 - x0) * max(0, y1 - y0) for x0, y0, x1, y1 in windows)
    if pixels < _WORTH_THREADS or torch.get_num_threads() == 1:
        for index in range(len(windows)):
            paste(index)
        return
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for _ in pool.map(paste, range(len(windows))):
            pass


_Cells = tuple[NDArray[np.intp], NDArray[np.float32]]
"""Of each pixel the cell before it, ring included, and its way from there to the next, 0 to 1."""


def _cells(begin: float, end: float, start: int, stop: int, size: int) -> _Cells | None:
    """Tell between which cells of a mask the pixels of a range lie, on one axis.

    Args:
        begin: Where the box begins, in pixels.
        end: Where it ends.
        start: The first pixel.
        stop: One past the last.
        size: Cells of the mask, without its ring of zeros.

    Returns:
        None for a box without extent.
    """
    length = end - begin
    if not 0 < length < np.inf:
        return None
    place = (np.arange(start, stop) + (0.5 - begin)) * (size / length) + 0.5
    place = place.clip(0, size + 1)  # the ring is zero, and so is what lies further out
    before = np.minimum(place.astype(np.intp), size)
    return before, (place - before).astype(np.float32)


def _fill(
    mask: NDArray[np.float32],
    columns: _Cells,
    rows: _Cells,
    target: NDArray[np.bool_],
    threshold: float,
) -> None:
    """Write the pixels of one mask.

    Args:
        mask: (h + 2, w + 2), with its ring.
        columns: Of the window.
        rows: Likewise.
        target: (rows, columns).
        threshold: Above 0.
    """
    left, way = columns
    above = mask[:, left] + way * (mask[:, left + 1] - mask[:, left]) - np.float32(threshold)
    slope = np.diff(above, axis=0)
    above = above[:-1]
    falls = slope < 0
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = -above / slope
    crossing[(slope == 0) & (above == 0)] = -np.inf
    # At the crossing itself a falling column belongs to the object too: it leaves right after.
    crossing += falls * np.finfo(np.float32).eps

    cell, height = rows[0], rows[1][:, None]
    parts: list[tuple[slice, Any]] = [(slice(None), cell)]
    if target.size > _FEW_PIXELS:  # the rows between two cells are compared with the same
        ends = np.searchsorted(cell, np.arange(len(crossing) + 1))
        parts = [(slice(ends[k], ends[k + 1]), [k]) for k in range(len(crossing))]
    for part, between in parts:
        np.greater_equal(height[part], crossing[between], out=target[part])
        np.not_equal(target[part], falls[between], out=target[part])

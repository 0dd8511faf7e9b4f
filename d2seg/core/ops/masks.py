"""Mask probabilities of regions: choosing the class and pasting into the image."""

import math
import mmap

import numpy as np
import torch
from torch import Tensor

from d2seg.core.ops.crossings import paste_by_crossings

_OWN_PAGES = 2**22
"""Bytes from which on a result has pages of its own."""


def mask_probabilities(logits: Tensor, classes: Tensor) -> Tensor:
    """Turn mask logits into the probabilities of each region's own class.

    Args:
        logits: (N, K, h, w) float; K is 1 for class-agnostic heads.
        classes: (N,) int64 in [0, K).

    Returns:
        (N, 1, h, w) float in [0, 1].
    """
    if logits.shape[1] == 1:
        return logits.sigmoid()
    rows = torch.arange(logits.shape[0], device=logits.device)
    return logits[rows, classes][:, None].sigmoid()


def paste_masks(
    masks: Tensor,
    boxes: Tensor,
    size_hw: tuple[int, int],
    threshold: float = 0.5,
    pixels_at_once: int = 2**19,
) -> Tensor:
    """Resize region masks to their boxes and place them in the image (Mask R-CNN, section 3.1).

    Args:
        masks: (N, h, w) float probabilities in [0, 1].
        boxes: (N, 4) float, XYXY absolute pixels; parts outside the image are cut off.
        size_hw: Height and width of the image.
        threshold: Pixels at or above it belong to the object; below zero keeps soft masks.
        pixels_at_once: How many pixels of a mask are computed before they are stored, where their
            probabilities are.

    Returns:
        (N, height, width) bool, or uint8 in [0, 255] for a threshold below zero.
    """
    height, width = size_hw
    dtype = torch.bool if threshold >= 0 else torch.uint8
    if threshold > 0 and masks.device.type != "cpu":
        return _paste_whole(masks, boxes, height, width, threshold)
    pasted = _zeros([masks.shape[0], height, width], dtype, masks.device)
    windows = _reached_pixels(boxes, height, width)
    if threshold > 0 and not torch.jit.is_scripting():  # which has no NumPy
        paste_by_crossings(masks, boxes, windows, pasted, threshold)
        return pasted
    for i, window in enumerate(windows):
        x0, y0, x1, y1 = window[0], window[1], window[2], window[3]
        if x1 <= x0 or y1 <= y0:
            continue
        rows = axis_weights(boxes[i : i + 1, 1::2], y0, y1, masks.shape[1])[0]
        columns = axis_weights(boxes[i : i + 1, 0::2], x0, x1, masks.shape[2])[0]
        by_column = torch.mm(masks[i], columns.t())  # (h, x1 - x0)
        height_at_once = max(1, pixels_at_once // (x1 - x0))
        for top in range(y0, y1, height_at_once):
            bottom = min(top + height_at_once, y1)
            soft = torch.mm(rows[top - y0 : bottom - y0], by_column)
            band = pasted[i, top:bottom, x0:x1]
            if threshold < 0:
                band.copy_(soft.mul_(255))  # rounds down
            else:
                band.copy_(soft >= threshold)
    return pasted


def _reached_pixels(boxes: Tensor, height: int, width: int) -> list[list[int]]:
    """Return of each box which pixels of the image its mask can reach: X0, y0, x1, y1.

    Outside its box a mask fades to zero and never reaches 0.5: one pixel around is enough.
    """
    corners = torch.cat([boxes[:, :2].floor(), boxes[:, 2:].ceil()], dim=1)
    reach = torch.tensor([-1, -1, 1, 1], device=boxes.device)
    limits = torch.tensor([width, height, width, height], device=boxes.device)
    windows: list[list[int]] = (
        (corners.to(torch.int64) + reach).clamp(min=0).minimum(limits).tolist()
    )
    return windows


def _paste_whole(
    masks: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float,
    pixels_at_once: int = 2**27,
) -> Tensor:
    """Compute all pixels of the image, a few masks at a time: a device is not waited for."""
    at_once = max(1, pixels_at_once // (height * width))
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    masks = masks * has_area[:, None, None].to(masks.dtype)
    pasted: list[Tensor] = []
    for start in range(0, masks.shape[0], at_once):
        some = boxes[start : start + at_once]
        rows = axis_weights(some[:, 1::2], 0, height, masks.shape[1])
        columns = axis_weights(some[:, 0::2], 0, width, masks.shape[2])
        soft = torch.bmm(torch.bmm(rows, masks[start : start + at_once]), columns.transpose(1, 2))
        pasted.append(soft >= threshold)
    if len(pasted) == 0:
        return torch.zeros([0, height, width], dtype=torch.bool, device=masks.device)
    return torch.cat(pasted)


def _zeros(shape: list[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return zeros; on a CPU of pages that cost nothing before they are written to."""
    if torch.jit.is_scripting() or device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    return _untouched_zeros(shape, dtype)


@torch.jit.unused
def _untouched_zeros(shape: list[int], dtype: torch.dtype) -> Tensor:
    size = math.prod(shape)
    if size < _OWN_PAGES or not hasattr(mmap, "MAP_ANONYMOUS"):  # as on Windows
        kind = np.bool_ if dtype == torch.bool else np.uint8
        return torch.from_numpy(np.zeros(shape, dtype=kind))  # torch.zeros writes them
    # NumPy would ask for pages of 2 MB, for which the system may have to make room first.
    try:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(
            f"{shape[0]} masks of {shape[1]}x{shape[2]} pixels need {size / 1e9:.1f} GB of memory, "
            "more than the system gives; paste fewer at a time."
        ) from error
    return torch.frombuffer(pages, dtype=dtype).view(shape)


def whole_pixel_corners(boxes: Tensor, side: int) -> Tensor:
    """Tell which whole pixels masks with a ring of zeros cover.

    Args:
        boxes: (N, 4) float, XYXY absolute pixels.
        side: Cells of a mask from side to side, without the ring.

    Returns:
        (N, 4) int64, the first column and row, and those behind the last.
    """
    center = (boxes[:, :2] + boxes[:, 2:]) * 0.5
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * (float(side + 2) / side)
    corners = torch.cat([center - half, center + half], 1).to(torch.int64)
    # At least one pixel.
    return torch.cat([corners[:, :2], corners[:, 2:].maximum(corners[:, :2]) + 1], 1)


def paste_masks_whole_pixels(
    masks: Tensor,
    boxes: Tensor,
    size_hw: tuple[int, int],
    threshold: float = 0.5,
    origin_xy: tuple[int, int] = (0, 0),
) -> Tensor:
    """Resize region masks to whole pixels and place them, as the first Detectron did.

    A ring of zeros is laid around each mask and its box is enlarged by it. The corners are then cut
    off to whole pixels, which the box covers, ends included.

    Args:
        masks: (N, S, S) float probabilities in [0, 1].
        boxes: (N, 4) float, XYXY absolute pixels; parts outside the image are cut off.
        size_hw: Height and width of the image, or of a part of it.
        threshold: Pixels at or above it belong to the object; below zero keeps soft masks.
        origin_xy: Column and row of the image where that part begins.

    Returns:
        (N, height, width) bool, or uint8 in [0, 255] for a threshold below zero.
    """
    height, width = size_hw
    dtype = torch.bool if threshold >= 0 else torch.uint8
    pasted = _zeros([masks.shape[0], height, width], dtype, masks.device)
    corners: list[list[int]] = whole_pixel_corners(boxes, masks.shape[2]).tolist()
    ringed = torch.constant_pad_nd(masks, [1, 1, 1, 1], 0.0)
    for index in range(len(corners)):
        left, top = corners[index][0] - origin_xy[0], corners[index][1] - origin_xy[1]
        right, bottom = corners[index][2] - origin_xy[0], corners[index][3] - origin_xy[1]
        x0, x1 = max(left, 0), min(right, width)
        y0, y1 = max(top, 0), min(bottom, height)
        if x1 <= x0 or y1 <= y0:
            continue
        soft = torch.ops.aten.upsample_bilinear2d(
            ringed[index][None, None], [bottom - top, right - left], False, None
        )[0, 0, y0 - top : y1 - top, x0 - left : x1 - left]
        if threshold >= 0:
            pasted[index, y0:y1, x0:x1] = soft >= threshold
        else:
            pasted[index, y0:y1, x0:x1] = (soft * 255).to(torch.uint8)
    return pasted


@torch.jit.script_if_tracing
def paste_traced_masks(masks: Tensor, boxes: Tensor, size_hw: Tensor, threshold: float) -> Tensor:
    """Run `paste_masks` within a trace, which then holds for any count and size.

    Args:
        masks: As there.
        boxes: As there.
        size_hw: (2,) integer.
        threshold: As there.
    """
    return paste_masks(masks, boxes, (int(size_hw[0]), int(size_hw[1])), threshold)


def axis_weights(ends: Tensor, start: int, stop: int, size: int) -> Tensor:
    """Say how much of each row, or column, of a mask is in each pixel of a range of the image.

    Bilinear interpolation is one such product for the rows and one for the columns.

    Args:
        ends: (N, 2) float, where the boxes begin and end on this axis, in pixels.
        start: The first pixel.
        stop: One past the last.
        size: Rows or columns of the mask.

    Returns:
        (N, stop - start, size) float; a mask counts as zero outside of its box.
    """
    center = torch.arange(start, stop, dtype=ends.dtype, device=ends.device) + 0.5
    begin, end = ends[:, :1], ends[:, 1:]
    place = (center - begin) / (end - begin) * size - 0.5  # (N, pixels), in rows of the mask
    row = torch.arange(size, dtype=ends.dtype, device=ends.device)
    return (1 - (place[:, :, None] - row).abs()).clamp(min=0)


def sample_bilinear(features: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Read a map at points between its cells, as RoIAlign does.

    Args:
        features: (C, H, W) float.
        y: Rows, any shape that broadcasts with ``x``; cell centres are at whole numbers.
        x: Columns.

    Returns:
        (C, *shape) float. Points up to one cell outside the map take the value at its border, those
        further out are 0.
    """
    height, width = features.shape[1], features.shape[2]
    y, x = torch.broadcast_tensors(y, x)
    valid = (y >= -1) & (y <= height) & (x >= -1) & (x <= width)
    y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
    top, left = y.floor(), x.floor()
    below, right = (top + 1).clamp(max=height - 1), (left + 1).clamp(max=width - 1)
    share_y, share_x = y - top, x - left
    upper = _read(features, top, left) * (1 - share_x) + _read(features, top, right) * share_x
    lower = _read(features, below, left) * (1 - share_x) + _read(features, below, right) * share_x
    return (upper * (1 - share_y) + lower * share_y) * valid.to(features.dtype)


def _read(features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Read whole cells: (C, *shape)."""
    return features.flatten(1)[:, (rows * features.shape[2] + columns).to(torch.int64)]

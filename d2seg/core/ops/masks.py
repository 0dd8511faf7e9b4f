"""Mask probabilities of regions: choosing the class and pasting into the image."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
    masks: Tensor, boxes: Tensor, size_hw: tuple[int, int], threshold: float = 0.5
) -> Tensor:
    """Resize region masks to their boxes and place them in the image (Mask R-CNN, section 3.1).

    Args:
        masks: (N, h, w) float probabilities in [0, 1].
        boxes: (N, 4) float, XYXY absolute pixels; parts outside the image are cut off.
        size_hw: Height and width of the image.
        threshold: Pixels at or above it belong to the object; below zero keeps soft masks.

    Returns:
        (N, height, width) bool, or uint8 in [0, 255] for a threshold below zero.
    """
    height, width = size_hw
    dtype = torch.bool if threshold >= 0 else torch.uint8
    pasted = torch.zeros((masks.shape[0], height, width), dtype=dtype, device=masks.device)
    # Outside its box a mask fades to zero and never reaches 0.5: one pixel around is enough.
    corners = torch.cat([boxes[:, :2].floor(), boxes[:, 2:].ceil()], dim=1)
    reach = torch.tensor([-1, -1, 1, 1], device=boxes.device)
    limits = torch.tensor([width, height, width, height], device=boxes.device)
    reached = (corners.to(torch.int64) + reach).clamp(min=0).minimum(limits)
    windows: list[list[int]] = reached.tolist()
    for i, window in enumerate(windows):
        x0, y0, x1, y1 = window[0], window[1], window[2], window[3]
        if x1 <= x0 or y1 <= y0:
            continue
        soft = _sample_mask(masks[i], boxes[i], y0, y1, x0, x1)
        if threshold >= 0:
            pasted[i, y0:y1, x0:x1] = soft >= threshold
        else:
            pasted[i, y0:y1, x0:x1] = (soft * 255).to(torch.uint8)
    return pasted


def paste_masks_whole_pixels(
    masks: Tensor, boxes: Tensor, size_hw: tuple[int, int], threshold: float = 0.5
) -> Tensor:
    """Resize region masks to whole pixels and place them, as the first Detectron did.

    A ring of zeros is laid around each mask and its box is enlarged by it. The corners are then cut
    off to whole pixels, which the box covers, ends included.

    Args:
        masks: (N, S, S) float probabilities in [0, 1].
        boxes: (N, 4) float, XYXY absolute pixels; parts outside the image are cut off.
        size_hw: Height and width of the image.
        threshold: Pixels at or above it belong to the object; below zero keeps soft masks.

    Returns:
        (N, height, width) bool, or uint8 in [0, 255] for a threshold below zero.
    """
    height, width = size_hw
    dtype = torch.bool if threshold >= 0 else torch.uint8
    pasted = torch.zeros((masks.shape[0], height, width), dtype=dtype, device=masks.device)
    side = masks.shape[2]
    center = (boxes[:, :2] + boxes[:, 2:]) * 0.5
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * (float(side + 2) / side)
    corners: list[list[int]] = torch.cat([center - half, center + half], 1).to(torch.int64).tolist()
    ringed = torch.constant_pad_nd(masks, [1, 1, 1, 1], 0.0)
    for index in range(len(corners)):
        left, top = corners[index][0], corners[index][1]
        # One more than the last pixel, and at least one pixel.
        right, bottom = max(corners[index][2], left) + 1, max(corners[index][3], top) + 1
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


def _sample_mask(mask: Tensor, box: Tensor, y0: int, y1: int, x0: int, x1: int) -> Tensor:
    """Read a mask at the pixel centres of a window of the image: (y1 - y0, x1 - x0) float."""
    size = box[2:] - box[:2]
    y = torch.arange(y0, y1, dtype=mask.dtype, device=mask.device) + 0.5
    x = torch.arange(x0, x1, dtype=mask.dtype, device=mask.device) + 0.5
    y = (y - box[1]) / size[1] * 2 - 1  # -1 and 1 are the edges of the mask
    x = (x - box[0]) / size[0] * 2 - 1
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    grid = torch.stack([grid_x, grid_y], dim=2)[None]
    return F.grid_sample(mask[None, None], grid, align_corners=False)[0, 0]


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

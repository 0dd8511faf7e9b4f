"""Non-maximum suppression with fixed shapes and a fixed number of steps.

For runtimes without sorting and without data-dependent sizes: every box goes in and comes out, and
a mask says which ones are kept. :mod:`d2seg.core.ops.nms` is the same with free sizes.

Legend: N boxes in falling rank, the better ones first.
"""

import math

import numpy as np
import torch
from torch import Tensor

from d2seg.core.ops.boxes import box_area, pairwise_intersection


def suppression_matrix(boxes: Tensor, iou_threshold: float, groups: Tensor | None = None) -> Tensor:
    """Say which box would suppress which, were it kept.

    Args:
        boxes: (..., N, 4) float32, XYXY pixels, in falling rank; several lists at once.
        iou_threshold: Only an IoU above this suppresses; not negative.
        groups: (..., N) integer; boxes of different groups leave each other alone. None for one
            group.

    Returns:
        (..., N, N) float32; entry (j, i) is 1 where box i ranks above box j and overlaps it, else
        0.
    """
    area = box_area(boxes)
    intersection = pairwise_intersection(boxes, boxes)
    # Two empty boxes give NaN, which is above no threshold.
    iou = intersection / (area[..., :, None] + area[..., None, :] - intersection)
    suppresses = (iou > _round_down(iou_threshold)).to(torch.float32).tril(-1)
    if groups is not None:
        suppresses = suppresses * (groups[..., :, None] == groups[..., None, :]).to(torch.float32)
    return suppresses


def keep_by_steps(suppressed_by: Tensor, usable: Tensor, steps: int) -> Tensor:
    """Keep the boxes that no kept, better box suppresses, by a fixed number of iterations.

    Right once as many steps were done as the longest chain of boxes that suppress each other in
    turn has links; see :func:`steps_to_settle`.

    Args:
        suppressed_by: (..., N, N) float, see :func:`suppression_matrix`.
        usable: (..., N) float; boxes with 0 are neither kept nor suppress any.
        steps: Number of iterations.

    Returns:
        (..., N) float, 1 for kept boxes and 0 for others.
    """
    lists, count = math.prod(usable.shape[:-1]), usable.shape[-1]
    # In batches: XNNPACK takes products of two computed matrices in that form only.
    matrix, start = suppressed_by.reshape(lists, count, count), usable.reshape(lists, count, 1)
    keep = start
    for _ in range(steps):
        keep = start * (1.0 - torch.bmm(matrix, keep)).clamp(min=0.0)
    return keep.reshape(usable.shape)


def steps_to_settle(suppressed_by: Tensor, usable: Tensor) -> int:
    """Count the steps after which :func:`keep_by_steps` no longer changes its mind.

    Args:
        suppressed_by: (..., N, N) float.
        usable: (..., N) float.
    """
    keep, steps = usable, 0
    while True:
        update = usable * (1.0 - (suppressed_by @ keep[..., None])[..., 0]).clamp(min=0.0)
        if torch.equal(update, keep):
            return steps
        keep, steps = update, steps + 1


def _round_down(threshold: float) -> float:
    """Return the largest float32 that is not above a threshold.

    A float32 is above the one exactly if it is above the other: so the comparison of float32
    values is that of double precision, which the eager model makes.
    """
    nearest = np.float32(threshold)
    below = nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-np.inf))
    return float(below)

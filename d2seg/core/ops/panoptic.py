"""One segmentation of things and stuff from masks and classes of pixels (arXiv:1801.00868)."""

import torch
from torch import Tensor


def merge_panoptic(
    masks: Tensor,
    scores: Tensor,
    semantic: Tensor,
    overlap_threshold: float,
    stuff_area_thresh: float,
    score_threshold: float,
) -> tuple[Tensor, list[int], list[int]]:
    """Lay down objects by falling score, then fill what is left with stuff (section 5).

    Args:
        masks: (N, H, W) bool, objects.
        scores: (N,) float.
        semantic: (H, W) int64, the class of each pixel; 0 stands for all things.
        overlap_threshold: An object is left out when more than this share of it is taken already.
        stuff_area_thresh: A class that fills fewer pixels than this is left out.
        score_threshold: Objects that score below it are left out.

    Returns:
        segments (H, W) int32, 0 where nothing is; the row of ``masks`` for segments 1, 2, ...; and
        the stuff class of each segment after those.
    """
    segments = torch.zeros_like(semantic, dtype=torch.int32)
    rows: list[int] = []
    order: list[int] = torch.argsort(-scores).tolist()
    for row in order:
        if float(scores[row]) < score_threshold:
            break
        free = masks[row] & (segments == 0)
        area = int(masks[row].sum())
        if area == 0 or (area - int(free.sum())) / area > overlap_threshold:
            continue
        rows.append(row)
        segments[free] = len(rows)
    stuff: list[int] = []
    present: list[int] = torch.unique(semantic).tolist()
    for label in present:
        rest = (semantic == label) & (segments == 0)
        if label == 0 or int(rest.sum()) < stuff_area_thresh:
            continue
        stuff.append(label)
        segments[rest] = len(rows) + len(stuff)
    return segments, rows, stuff

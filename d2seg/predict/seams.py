"""What was found in tiles of an image becomes what was found in the image.

N is the number of finds, T that of tiles.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from pycocotools import mask as coco_mask

from d2seg.predict.masks import ImageMasks
from d2seg.predict.prediction import Prediction

SAME_FROM = 0.5
"""Share that two finds of an object have in common at least."""

EDGE_PIXELS = 2
"""A find that ends so near to where its tile was cut may go on beyond."""


def join_finds(found: Prediction, tiles: np.ndarray, tiles_xyxy: np.ndarray) -> Prediction:
    """Leave one find of each object.

    Finds of one tile stay apart, and so do classes. Of two whole finds with an IoU of one half the
    better one stays. A find that its tile cuts off gives way to a whole one that covers half of it,
    unless that has less than half its score; what remains of an object that no tile has as a whole
    are parts, and those that agree on half of what both tiles see are united.

    Args:
        found: The finds of all tiles, in pixels of the image; masks as run lengths.
        tiles: (N,) int, the tile of each find.
        tiles_xyxy: (T, 4) int, where the tiles are.

    Returns:
        Best score first. United finds have the box and the mask of all, the rest of the best one.
    """
    facts = _facts(found, tiles, tiles_xyxy)
    left = np.ones(len(found), dtype=bool)
    groups = []
    # Whole ones first, then by score.
    for row in np.lexsort([-facts.scores, facts.is_cut]).tolist():
        if not left[row]:
            continue
        group = _parts(row, facts, left) if facts.is_cut[row] else [row]
        left[group] = False
        if not facts.is_cut[row]:
            left &= ~_repeats(row, facts)
        groups.append(group)
    groups.sort(key=lambda group: -facts.scores[group[0]])
    return _unite(found, groups)


class _Facts(NamedTuple):
    """About finds and pairs of finds.

    Attributes:
        scores: (N,) float.
        is_cut: (N,) bool, whether a find ends where its tile was cut.
        may_be_same: (N, N) bool, whether they are of one class, and of two tiles.
        covered: (N, N) float, the share of the first that is in the second.
        iou: (N, N) float.
        agreement: (N, N) float, the share that they have in common of what both tiles see.
    """

    scores: np.ndarray
    is_cut: np.ndarray
    may_be_same: np.ndarray
    covered: np.ndarray
    iou: np.ndarray
    agreement: np.ndarray


def _facts(found: Prediction, tiles: np.ndarray, tiles_xyxy: np.ndarray) -> _Facts:
    boxes, classes = found.boxes.numpy(), found.classes.numpy()
    regions: Any = found.rle() if found.has_masks else _as_xywh(boxes)
    covered = _covered(regions, regions)
    seen = _covered(regions, _frames(tiles_xyxy, found))[:, tiles]  # [N,N]
    # Shares of the first one become shares of what the other tile sees of it, and so on.
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = np.nan_to_num(1 / (1 / covered + 1 / covered.T - 1))
        agreement = np.nan_to_num(np.maximum(covered / seen, (covered / seen).T))
    return _Facts(
        scores=found.scores.numpy(),
        is_cut=_is_cut(boxes, tiles_xyxy[tiles], found.image_size),
        may_be_same=(classes[:, None] == classes) & (tiles[:, None] != tiles),
        covered=covered,
        iou=iou,
        agreement=agreement,
    )


def _is_cut(boxes: np.ndarray, own_tiles: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    height, width = size_hw
    inner = own_tiles != np.array([0, 0, width, height])
    near = np.abs(boxes - own_tiles) <= EDGE_PIXELS
    is_cut: np.ndarray = (inner & near).any(1)
    return is_cut


def _covered(regions: Any, others: Any) -> np.ndarray:
    """Return (N, M), the share of each region that is in each of the others."""
    if len(regions) == 0:
        return np.zeros((0, len(others)))
    return np.asarray(coco_mask.iou(regions, others, [1] * len(others)))


def _frames(tiles_xyxy: np.ndarray, found: Prediction) -> Any:
    frames = _as_xywh(tiles_xyxy.astype(float))
    return coco_mask.frPyObjects(frames, *found.image_size) if found.has_masks else frames


def _as_xywh(boxes: np.ndarray) -> np.ndarray:
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).astype(np.float64)


def _repeats(row: int, facts: _Facts) -> np.ndarray:
    """Return (N,) bool: what is the same object as a whole find."""
    same = np.where(
        facts.is_cut,
        (facts.covered[:, row] >= SAME_FROM) & (facts.scores <= 2 * facts.scores[row]),
        facts.iou[:, row] >= SAME_FROM,
    )
    repeats: np.ndarray = same & facts.may_be_same[row]
    return repeats


def _parts(row: int, facts: _Facts, left: np.ndarray) -> list[int]:
    """Collect the parts of an object, and those of its parts, from a part of it on."""
    group, number = [row], 0
    while number < len(group):
        one = group[number]
        fits = facts.may_be_same[one] & (facts.agreement[one] >= SAME_FROM) & facts.is_cut & left
        group += [part for part in np.flatnonzero(fits).tolist() if part not in group]
        number += 1
    return group


def _unite(found: Prediction, groups: Sequence[list[int]]) -> Prediction:
    best = found[torch.tensor([group[0] for group in groups], dtype=torch.int64)]
    boxes = best.boxes.clone()
    runs = best.rle() if best.has_masks else []
    for place, group in enumerate(groups):
        if len(group) > 1:
            parts = found[torch.tensor(group)]
            boxes[place] = torch.cat([parts.boxes[:, :2].amin(0), parts.boxes[:, 2:].amax(0)])
            if runs:
                merged = coco_mask.merge(parts.rle())
                runs[place] = merged | {"counts": merged["counts"].decode("ascii")}
    masks = best.mask_source
    if masks is not None:
        masks = ImageMasks(runs, found.image_size, found.mask_threshold)
    return replace(best, boxes=boxes, mask_source=masks)

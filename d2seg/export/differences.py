"""How far the details of paired detections are apart, and how far they may be."""

import torch
from torch import Tensor

from d2seg.export.tolerances import TOLERANCES, Tolerances

SMALL_OBJECT = 400
"""Pixels; an object with fewer may have as many differing pixels as one of this size."""


def compare_masks(
    eager: Tensor | None,
    found: Tensor | None,
    pairs: Tensor,
    tolerances: Tolerances = TOLERANCES["fp32"],
) -> tuple[Tensor, Tensor]:
    """Compare the masks of pairs of detections.

    Args:
        eager: (N, 1, h, w) float probabilities or (N, height, width) bool; None without masks.
        found: Likewise, of the other side.
        pairs: (M, 2) int64, rows of both.
        tolerances: What is small.

    Returns:
        differences (M,) float, the largest of a probability or the share of an object's pixels, and
        whether each is small, (M,) bool; none is where only one side has masks.
    """
    if eager is None or found is None:
        return _only_if_equal(eager is found, len(pairs))
    first, second = eager[pairs[:, 0]], found[pairs[:, 1]]
    if first.shape != second.shape or first.dtype != second.dtype:
        return _only_if_equal(False, len(pairs))
    if eager.dtype == torch.bool:
        pixels = (first | second).flatten(1).sum(dim=1).clamp(min=SMALL_OBJECT)
        share = (first ^ second).flatten(1).sum(dim=1) / pixels
        return share, share <= tolerances.pixel_share
    difference = (first - second).abs().flatten(1).amax(dim=1)
    return difference, difference <= tolerances.mask


def compare_keypoints(
    eager: Tensor | None,
    found: Tensor | None,
    pairs: Tensor,
    scale: Tensor,
    tolerances: Tolerances = TOLERANCES["fp32"],
) -> tuple[Tensor, Tensor]:
    """Compare the keypoints of pairs of detections.

    Args:
        eager: (N, K, 3) float, x and y in pixels and a score; None without keypoints.
        found: Likewise, of the other side.
        pairs: (M, 2) int64, rows of both.
        scale: (M,) float, factors of the tolerance for positions.
        tolerances: What agrees.

    Returns:
        differences (M,) float, the largest of a coordinate, in pixels, and whether enough keypoints
        of each pair agree, (M,) bool; none do where only one side has keypoints.
    """
    if eager is None or found is None:
        return _only_if_equal(eager is found, len(pairs))
    difference = (eager[pairs[:, 0]] - found[pairs[:, 1]]).abs()  # [M,K,3]
    away, score = difference[..., :2].amax(dim=2), difference[..., 2]
    same = (away <= tolerances.box * scale[:, None]) & (score <= tolerances.score)
    return away.amax(dim=1), same.float().mean(dim=1) >= tolerances.keypoint_share


def _only_if_equal(equal: bool, count: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(count), torch.full((count,), equal)

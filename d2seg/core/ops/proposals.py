"""Region proposals from the dense predictions of an RPN (Faster R-CNN, arXiv:1506.01497)."""

import torch
from torch import Tensor

from d2seg.core.ops.box_coding import decode_boxes
from d2seg.core.ops.boxes import clip_boxes, large_enough
from d2seg.core.ops.dense import at_most, flatten_levels
from d2seg.core.ops.nms import batched_nms


def flatten_logits(logits: Tensor) -> Tensor:
    """Bring objectness maps (B, A, H, W) into anchor order: (B, H * W * A)."""
    return logits.permute(0, 2, 3, 1).flatten(1)


def flatten_deltas(deltas: Tensor, box_dim: int = 4) -> Tensor:
    """Bring delta maps (B, A * box_dim, H, W) into anchor order: (B, H * W * A, box_dim)."""
    return flatten_levels(deltas, box_dim)


def all_finite(tensors: list[Tensor]) -> bool:
    """Tell whether no tensor has an Inf or NaN; the device is waited for once."""
    return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all())


def select_proposals(
    logits: list[Tensor],
    deltas: list[Tensor],
    anchors: list[Tensor],
    size_hw: tuple[int, int],
    weights: list[float],
    scale_clamp: float,
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    aten_only: bool = False,
    min_side: float = 0.0,
    by_probability: bool = False,
) -> tuple[Tensor, Tensor]:
    """Pick the proposals of one image: best of each level, decoded, clipped, after NMS per level.

    Args:
        logits: Per level (A_l,) float, objectness.
        deltas: Per level (A_l, 4) float, box deltas.
        anchors: Per level (A_l, 4) float, XYXY pixels.
        size_hw: Height and width of the image without padding.
        weights: Factors that the deltas carry.
        scale_clamp: Upper bound of dw and dh.
        nms_thresh: IoU above which the lower-scored box is dropped.
        pre_nms_topk: How many boxes of each level enter NMS.
        post_nms_topk: How many boxes of all levels leave it.
        min_box_size: Boxes must be wider and higher than this, in pixels.
        aten_only: Use no torchvision operator.
        min_side: Boxes must be at least this wide and high, in pixels.
        by_probability: Rank boxes by the sigmoid of their logits, among which large ones are equal.

    Returns:
        Boxes (P, 4) float XYXY pixels and their logits (P,), by falling rank. Boxes or logits that
        are not finite are left out.
    """
    all_logits: list[Tensor] = []
    all_boxes: list[Tensor] = []
    all_levels: list[Tensor] = []
    for level in range(len(logits)):
        count = at_most(logits[level].shape[0], pre_nms_topk)
        best, index = logits[level].topk(count)
        # Only what can become a proposal is decoded: a tenth of the anchors of the finest level.
        boxes = decode_boxes(deltas[level][index], anchors[level][index], weights, scale_clamp)
        all_logits.append(best)
        all_boxes.append(boxes)
        all_levels.append(torch.full_like(index, level))
    scores = torch.cat(all_logits)
    boxes = torch.cat(all_boxes)
    levels = torch.cat(all_levels)

    finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(scores)
    boxes = clip_boxes(boxes, size_hw)
    usable = torch.nonzero(finite & large_enough(boxes, min_box_size, min_side))[:, 0]
    boxes, scores, levels = boxes[usable], scores[usable], levels[usable]
    ranked = scores.sigmoid() if by_probability else scores
    keep = batched_nms(boxes, ranked, levels, nms_thresh, aten_only)[:post_nms_topk]
    return boxes[keep], scores[keep]

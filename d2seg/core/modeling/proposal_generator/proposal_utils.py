"""Changes to lists of proposals."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from d2seg.core.ops.proposals import all_finite, select_proposals
from d2seg.core.structures import Boxes, Instances

# The probability of an object that is certain, as a logit that is still finite.
GROUND_TRUTH_LOGIT = math.log((1.0 - 1e-10) / 1e-10)


def add_ground_truth_to_proposals(
    gt: Sequence[Instances | Boxes], proposals: list[Instances]
) -> list[Instances]:
    """Append the ground-truth boxes of each image to its proposals.

    Early in training no proposal may overlap an object; with this every object has one.

    Args:
        gt: For each image, with ``gt_boxes``; or the boxes themselves.
        proposals: For each image, with ``proposal_boxes`` and ``objectness_logits``.

    Returns:
        New Instances for each image.
    """
    return [
        add_ground_truth_to_proposals_single_image(one_gt, one)
        for one_gt, one in zip(gt, proposals, strict=True)
    ]


def find_top_rpn_proposals(
    proposals: list[Tensor],
    pred_objectness_logits: list[Tensor],
    image_sizes: list[tuple[int, int]],
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """Pick proposals among decoded boxes: the best of each level, clipped, after NMS per level.

    Args:
        proposals: Per level (B, A_l, 4) float, XYXY pixels.
        pred_objectness_logits: Per level (B, A_l) float.
        image_sizes: Height and width of each image.
        nms_thresh: IoU above which the lower-scored proposal of a level is dropped.
        pre_nms_topk: Boxes of each level that enter NMS.
        post_nms_topk: Proposals of an image.
        min_box_size: Proposals must be wider and higher than this, in pixels.
        training: Whether values that are not finite are an error; otherwise they are left out.

    Returns:
        For each image Instances with ``proposal_boxes`` and ``objectness_logits``.
    """
    if training and not all_finite([*proposals, *pred_objectness_logits]):
        raise FloatingPointError("Proposals are Inf or NaN: training has diverged.")
    results = []
    for index, size_hw in enumerate(image_sizes):
        # Boxes are given, so the deltas that would decode them are zero.
        boxes, logits = select_proposals(
            [level[index] for level in pred_objectness_logits],
            [torch.zeros_like(level[index]) for level in proposals],
            [level[index] for level in proposals],
            size_hw,
            [1.0, 1.0, 1.0, 1.0],
            1.0,
            nms_thresh,
            pre_nms_topk,
            post_nms_topk,
            min_box_size,
        )
        fields = {"proposal_boxes": Boxes(boxes), "objectness_logits": logits}
        results.append(Instances(size_hw, **fields))
    return results


def add_ground_truth_to_proposals_single_image(
    gt: Instances | Boxes, proposals: Instances
) -> Instances:
    """Append the ground-truth boxes of an image to its proposals."""
    boxes = gt.gt_boxes if isinstance(gt, Instances) else gt
    logits = proposals.objectness_logits
    as_proposals = Instances(
        proposals.image_size,
        proposal_boxes=boxes,
        objectness_logits=logits.new_full((len(boxes),), GROUND_TRUTH_LOGIT),
    )
    return Instances.cat([proposals, as_proposals])

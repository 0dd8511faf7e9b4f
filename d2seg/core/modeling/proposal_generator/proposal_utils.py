"""Changes to lists of proposals."""

import math

import torch

from d2seg.core.structures import Boxes, Instances

# The probability of an object that is certain, as a logit that is still finite.
GROUND_TRUTH_LOGIT = math.log((1.0 - 1e-10) / 1e-10)


def add_ground_truth_to_proposals(
    gt: list[Instances], proposals: list[Instances]
) -> list[Instances]:
    """Append the ground-truth boxes of each image to its proposals.

    Early in training no proposal may overlap an object; with this every object has one.

    Args:
        gt: For each image, with ``gt_boxes``.
        proposals: For each image, with ``proposal_boxes`` and ``objectness_logits``.

    Returns:
        New Instances for each image.
    """
    return [_append(one_gt.gt_boxes, one) for one_gt, one in zip(gt, proposals, strict=True)]


def _append(gt_boxes: Boxes, proposals: Instances) -> Instances:
    logits = proposals.objectness_logits
    certain = torch.full((len(gt_boxes),), GROUND_TRUTH_LOGIT, device=logits.device)
    as_proposals = Instances(
        proposals.image_size, proposal_boxes=gt_boxes, objectness_logits=certain.to(logits)
    )
    return Instances.cat([proposals, as_proposals])

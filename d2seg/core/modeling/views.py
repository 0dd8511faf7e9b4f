"""Putting together what was found in several views of an image."""

from collections.abc import Sequence

import torch
from fvcore.transforms.transform import HFlipTransform, Transform, TransformList, VFlipTransform
from torch import Tensor

from d2seg.core.ops.boxes import clip_boxes
from d2seg.core.ops.nms import batched_nms
from d2seg.core.structures import Boxes, Instances


def merge_views(
    found: Sequence[Instances],
    transforms: Sequence[Transform],
    size_hw: tuple[int, int],
    nms_thresh: float,
    topk: int,
) -> Instances:
    """Bring the detections of all views into the original image and drop the duplicates.

    Args:
        found: For each view, with ``pred_boxes``, ``scores`` and ``pred_classes``. Not modified.
        transforms: For each view, from the original pixels to its own.
        size_hw: Height and width in pixels of the original image.
        nms_thresh: IoU above which the lower-scored box of the same class is dropped.
        topk: At most this many detections; negative for all.

    Returns:
        Instances with the same three fields, by falling score.
    """
    moved = [
        move_boxes(one.pred_boxes, change.inverse()).tensor
        for one, change in zip(found, transforms, strict=True)
    ]
    boxes = clip_boxes(torch.cat(moved), size_hw)
    scores = torch.cat([one.scores for one in found])
    classes = torch.cat([one.pred_classes for one in found])
    keep = batched_nms(boxes, scores, classes, nms_thresh)
    keep = keep if topk < 0 else keep[:topk]
    return Instances(
        size_hw, pred_boxes=Boxes(boxes[keep]), scores=scores[keep], pred_classes=classes[keep]
    )


def move_boxes(boxes: Boxes, change: Transform) -> Boxes:
    """Apply a transform to boxes; one that turns them gives the boxes around."""
    moved = change.apply_box(boxes.tensor.cpu().numpy())
    return Boxes(torch.as_tensor(moved).to(boxes.tensor).reshape(-1, 4))


def unflip(masks: Tensor, change: Transform) -> Tensor:
    """Mirror the masks of a view back.

    Args:
        masks: (..., h, w), of boxes in the view.
        change: From the original pixels to those of the view; flips in it are undone, and nothing
            else matters to a mask that is relative to its box.
    """
    steps = change.transforms if isinstance(change, TransformList) else [change]
    for kind, axis in ((HFlipTransform, -1), (VFlipTransform, -2)):
        if sum(isinstance(step, kind) for step in steps) % 2:
            masks = masks.flip(axis)
    return masks

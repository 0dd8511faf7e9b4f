"""Non-maximum suppression under detectron2's name."""

from torch import Tensor

from d2seg.core.ops import nms
from d2seg.core.ops.rotated import batched_nms_rotated, nms_rotated

__all__ = ["batched_nms", "batched_nms_rotated", "nms_rotated"]


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress boxes within each group.

    Args:
        boxes: (N, 4) float, XYXY absolute pixels.
        scores: (N,) float.
        idxs: (N,) int64, the group of each box, such as its class.
        iou_threshold: Overlap above which the lower-scored box is dropped.

    Returns:
        (K,) int64, the kept boxes by falling score.
    """
    return nms.batched_nms(boxes.float(), scores, idxs, iou_threshold)

"""Functions that a graph holds as one node each, because a runtime has them or needs a loop.

They compute what :mod:`d2seg.core.ops` computes; an exporter says what stands for them in its
format, see :mod:`d2seg.export.onnx.translations`.
"""

import torch
from torch import Tensor

from d2seg.core.ops import keypoints, nms


@torch.library.custom_op("d2seg::keep_best", mutates_args=())
def keep_best(boxes: Tensor, scores: Tensor, iou_threshold: float, lowest: float) -> Tensor:
    """Run :func:`d2seg.core.ops.nms.keep_best`."""
    return nms.keep_best(boxes, scores, iou_threshold, lowest)


@keep_best.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, lowest: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


@torch.library.custom_op("d2seg::decode_heatmaps", mutates_args=())
def decode_heatmaps(heatmaps: Tensor, boxes: Tensor) -> Tensor:
    """Run :func:`d2seg.core.ops.keypoints.decode_heatmaps`."""
    return keypoints.decode_heatmaps(heatmaps, boxes)


@decode_heatmaps.register_fake
def _(heatmaps: Tensor, boxes: Tensor) -> Tensor:
    return heatmaps.new_empty([heatmaps.shape[0], heatmaps.shape[1], 4])

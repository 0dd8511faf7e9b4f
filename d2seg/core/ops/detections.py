"""Final detections from per-region class probabilities and boxes."""

import torch
from torch import Tensor

from d2seg.core.ops.boxes import at_least, clip_boxes
from d2seg.core.ops.nms import batched_nms


def select_detections(
    boxes: Tensor,
    probs: Tensor,
    size_hw: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    topk: int,
    aten_only: bool = False,
    min_side: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pick the detections of one image: scores above a threshold, NMS per class, the best of them.

    Args:
        boxes: (R, 4K) float, XYXY pixels for each class, or (R, 4) for all classes together.
        probs: (R, K + 1) float in [0, 1]; the last column is background and is ignored.
        size_hw: Height and width of the image; boxes are clipped to it.
        score_thresh: Scores must exceed this.
        nms_thresh: IoU above which the lower-scored box of the same class is dropped.
        topk: At most this many detections; negative for all.
        aten_only: Use no torchvision operator.
        min_side: Boxes must be at least this wide and high, in pixels; 0 keeps empty ones too.

    Returns:
        boxes (N, 4), scores (N,), classes (N,) int64 and rows (N,) int64, the region each detection
        came from; by falling score. Regions with a value that is not finite are left out.
    """
    finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(probs).all(dim=1)
    scores = probs[:, :-1]
    candidates = torch.nonzero((scores > score_thresh) & finite[:, None])  # [M,2]: row, class
    rows, classes = candidates[:, 0], candidates[:, 1]
    per_class = boxes.reshape(boxes.shape[0], boxes.shape[1] // 4, 4)  # [R,K or 1,4]
    columns = classes if per_class.shape[1] > 1 else torch.zeros_like(classes)
    chosen = clip_boxes(per_class[rows, columns], size_hw)
    chosen_scores = scores[rows, classes]
    if min_side > 0:
        large = torch.nonzero(at_least(chosen, min_side))[:, 0]
        chosen, chosen_scores = chosen[large], chosen_scores[large]
        classes, rows = classes[large], rows[large]

    keep = batched_nms(chosen, chosen_scores, classes, nms_thresh, aten_only)
    if topk >= 0:
        keep = keep[:topk]
    return chosen[keep], chosen_scores[keep], classes[keep], rows[keep]

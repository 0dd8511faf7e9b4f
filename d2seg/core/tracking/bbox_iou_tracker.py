"""A tracker that takes the best pair of boxes first."""

from typing import Any

import numpy as np

from d2seg.core.config import configurable
from d2seg.core.structures import Instances, pairwise_iou
from d2seg.core.tracking.base_tracker import TRACKER_HEADS_REGISTRY
from d2seg.core.tracking.box_tracker import BoxTracker
from d2seg.core.tracking.utils import create_prediction_pairs


@TRACKER_HEADS_REGISTRY.register()
class BBoxIOUTracker(BoxTracker):
    """Matches boxes of two frames greedily, by falling IoU.

    Args:
        track_iou_threshold: Least IoU of a match.
        **kwargs: As of `BoxTracker`.
    """

    @configurable
    def __init__(self, *, track_iou_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._track_iou_threshold = track_iou_threshold

    def match(self, instances: Instances, previous: Instances) -> tuple[np.ndarray, np.ndarray]:
        """Match each box at most once; see `BoxTracker.match`."""
        iou = pairwise_iou(instances.pred_boxes, previous.pred_boxes).cpu().numpy()
        pairs = create_prediction_pairs(instances, previous, iou, self._track_iou_threshold)
        matched: dict[int, int] = {}
        for pair in sorted(pairs, key=lambda pair: -pair["IoU"]):
            if pair["idx"] not in matched and pair["prev_idx"] not in matched.values():
                matched[pair["idx"]] = pair["prev_idx"]
        rows, previous_rows = list(matched), list(matched.values())
        return np.array(rows, dtype=np.int64), np.array(previous_rows, dtype=np.int64)

"""A tracker that matches as many boxes as possible."""

from typing import Any

import numpy as np

from d2seg.core.config import configurable
from d2seg.core.structures import Instances, pairwise_iou
from d2seg.core.tracking.base_tracker import TRACKER_HEADS_REGISTRY
from d2seg.core.tracking.hungarian_tracker import NO_MATCH, BaseHungarianTracker
from d2seg.core.tracking.utils import create_prediction_pairs


@TRACKER_HEADS_REGISTRY.register()
class VanillaHungarianBBoxIOUTracker(BaseHungarianTracker):
    """Matches as many boxes as possible, each pair with an IoU above a threshold counting alike.

    Args:
        track_iou_threshold: Least IoU of a match.
        **kwargs: As of `BoxTracker`.
    """

    @configurable
    def __init__(self, *, track_iou_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._track_iou_threshold = track_iou_threshold

    def build_cost_matrix(self, instances: Instances, prev_instances: Instances) -> np.ndarray:
        """Compute the cost (N, M) of each pair of boxes."""
        iou = pairwise_iou(instances.pred_boxes, prev_instances.pred_boxes).cpu().numpy()
        pairs = create_prediction_pairs(instances, prev_instances, iou, self._track_iou_threshold)
        return self.assign_cost_matrix_values(np.full(iou.shape, NO_MATCH), pairs)

    def assign_cost_matrix_values(
        self, cost_matrix: np.ndarray, bbox_pairs: list[dict[str, Any]]
    ) -> np.ndarray:
        """Set the cost of pairs to -1, in place.

        Args:
            cost_matrix: (N, M) float.
            bbox_pairs: See `create_prediction_pairs`.

        Returns:
            The matrix.
        """
        for pair in bbox_pairs:
            cost_matrix[pair["idx"], pair["prev_idx"]] = -1.0
        return cost_matrix

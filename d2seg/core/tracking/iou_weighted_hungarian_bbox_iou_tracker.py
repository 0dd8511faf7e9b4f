"""A tracker that matches boxes so that they overlap best all together."""

from typing import Any

import numpy as np

from d2seg.core.tracking.base_tracker import TRACKER_HEADS_REGISTRY
from d2seg.core.tracking.vanilla_hungarian_bbox_iou_tracker import VanillaHungarianBBoxIOUTracker


@TRACKER_HEADS_REGISTRY.register()
class IOUWeightedHungarianBBoxIOUTracker(VanillaHungarianBBoxIOUTracker):
    """Matches boxes so that the sum of their IoU is greatest; arguments as of its base."""

    def assign_cost_matrix_values(
        self, cost_matrix: np.ndarray, bbox_pairs: list[dict[str, Any]]
    ) -> np.ndarray:
        """Set the cost of pairs to minus their IoU, in place, and return the matrix."""
        for pair in bbox_pairs:
            cost_matrix[pair["idx"], pair["prev_idx"]] = -pair["IoU"]
        return cost_matrix

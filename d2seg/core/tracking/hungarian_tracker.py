"""Trackers that choose the pairs that are best all together."""

from importlib import import_module

import numpy as np

from d2seg.core.structures import Instances
from d2seg.core.tracking.box_tracker import BoxTracker

NO_MATCH = 100_000.0
"""Cost of a pair that is none; below infinity, with which no assignment could be found."""


class BaseHungarianTracker(BoxTracker):
    """Matches boxes of two frames so that the sum of costs is least (Kuhn 1955)."""

    def build_cost_matrix(self, instances: Instances, prev_instances: Instances) -> np.ndarray:
        """Compute the cost (N, M) of each pair; ``NO_MATCH`` for one that may not be matched."""
        raise NotImplementedError(f"{type(self).__name__} must define build_cost_matrix().")

    def match(self, instances: Instances, previous: Instances) -> tuple[np.ndarray, np.ndarray]:
        """Match each box at most once; see `BoxTracker.match`."""
        costs = self.build_cost_matrix(instances, previous)
        rows, previous_rows = _assign(costs)
        allowed = costs[rows, previous_rows] < NO_MATCH
        return rows[allowed], previous_rows[allowed]


def _assign(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
        optimize = import_module("scipy.optimize")
    except ImportError as error:
        raise ImportError(
            "Hungarian trackers need the package scipy: pip install scipy; or use BBoxIOUTracker."
        ) from error
    rows, columns = optimize.linear_sum_assignment(costs)
    return rows, columns

"""What every tracker offers, and trackers by name."""

from typing import Any

from d2seg.core.config import CfgNode, configurable
from d2seg.core.runtime.registry import Registry
from d2seg.core.structures import Instances

TRACKER_HEADS_REGISTRY = Registry("TRACKER_HEADS")
"""Classes called with ``(cfg)``; see `BaseTracker`."""


class BaseTracker:
    """Base of trackers: they remember the last frame and how many objects they have named.

    Args:
        **kwargs: Accepted for subclasses; not used here.
    """

    @configurable
    def __init__(self, **kwargs: Any) -> None:
        self._prev_instances: Instances | None = None
        self._id_count = 0

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Map config keys to arguments."""
        raise NotImplementedError(f"{cls.__name__} must define from_config().")

    def update(self, predictions: Instances) -> Instances:
        """Take the detections of the next frame and return them with the names of objects."""
        raise NotImplementedError(f"{type(self).__name__} must define update().")


def build_tracker_head(cfg: CfgNode) -> BaseTracker:
    """Build the tracker that ``TRACKER_HEADS.TRACKER_NAME`` names."""
    return TRACKER_HEADS_REGISTRY.get(cfg.TRACKER_HEADS.TRACKER_NAME)(cfg)

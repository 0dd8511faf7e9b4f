"""What trackers share that find the boxes of one frame in the next."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch

from d2seg.core.config import CfgNode, configurable
from d2seg.core.structures import Instances
from d2seg.core.tracking.base_tracker import BaseTracker


class BoxTracker(BaseTracker):
    """Names the objects of each frame; a subclass says which is which in `match`.

    Results have, beside the fields of the detections, for each object ``ID``, ``ID_period``, the
    number of frames it was seen in, and ``lost_frame_count``, that of frames since then.

    Args:
        video_height: Height of the frames in pixels.
        video_width: Width of the frames in pixels.
        max_num_instances: No more lost objects are kept when a frame has this many.
        max_lost_frame_count: An object that was not seen for more frames is forgotten.
        min_box_rel_dim: Lost objects whose box is smaller, as a share of the height or width of
            the frame, are forgotten.
        min_instance_period: Lost objects that were not seen in more frames are forgotten.
        **kwargs: As of `BaseTracker`.
    """

    @configurable
    def __init__(
        self,
        *,
        video_height: int,
        video_width: int,
        max_num_instances: int = 200,
        max_lost_frame_count: int = 0,
        min_box_rel_dim: float = 0.02,
        min_instance_period: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._video_height = video_height
        self._video_width = video_width
        self._max_num_instances = max_num_instances
        self._max_lost_frame_count = max_lost_frame_count
        self._min_box_rel_dim = min_box_rel_dim
        self._min_instance_period = min_instance_period

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Map the keys of ``TRACKER_HEADS`` to arguments."""
        names = (
            "video_height",
            "video_width",
            "max_num_instances",
            "max_lost_frame_count",
            "min_box_rel_dim",
            "min_instance_period",
            "track_iou_threshold",
        )
        keys = cfg.TRACKER_HEADS
        return {name: keys[name.upper()] for name in names if name.upper() in keys}

    def match(self, instances: Instances, previous: Instances) -> tuple[np.ndarray, np.ndarray]:
        """Find the objects of the last frame in this one.

        Returns:
            (M,) int64 rows of this frame, and for each the row of the last frame.
        """
        raise NotImplementedError(f"{type(self).__name__} must define match().")

    def update(self, predictions: Instances) -> Instances:
        """Take the detections of the next frame.

        Args:
            predictions: With ``pred_boxes``. Not modified.

        Returns:
            The detections with the names of objects, then those that were lost but are not
            forgotten yet, as they were seen last.
        """
        previous = self._prev_instances
        instances = self._initialize_extra_fields(predictions)
        if previous is not None:
            rows, previous_rows = self.match(instances, previous)
            instances = self._process_matched_idx(instances, rows, previous_rows)
            instances = self._process_unmatched_idx(instances, rows)
            instances = self._process_unmatched_prev_idx(instances, previous_rows)
        self._prev_instances = instances
        return instances

    def _initialize_extra_fields(self, instances: Instances) -> Instances:
        """Add the fields, with values for all objects if this is the first frame."""
        height, width = (int(side) for side in instances.image_size)
        started = Instances((height, width), **instances.get_fields())
        for name in ("ID", "ID_period", "lost_frame_count"):
            started.set(name, [None] * len(instances))
        return self._assign_new_id(started) if self._prev_instances is None else started

    def _assign_new_id(self, instances: Instances, matched: Collection[int] = ()) -> Instances:
        """Name all objects but those of some rows, in place."""
        for row in range(len(instances)):
            if row not in matched:
                instances.ID[row] = self._id_count
                instances.ID_period[row] = 1
                instances.lost_frame_count[row] = 0
                self._id_count += 1
        return instances

    def _process_matched_idx(
        self, instances: Instances, matched_idx: np.ndarray, matched_prev_idx: np.ndarray
    ) -> Instances:
        """Give objects the names they had, in place."""
        previous = self._previous()
        for row, before in zip(matched_idx.tolist(), matched_prev_idx.tolist(), strict=True):
            instances.ID[row] = previous.ID[before]
            instances.ID_period[row] = previous.ID_period[before] + 1
            instances.lost_frame_count[row] = 0
        return instances

    def _process_unmatched_idx(self, instances: Instances, matched_idx: np.ndarray) -> Instances:
        """Name the objects that are new, in place."""
        return self._assign_new_id(instances, set(matched_idx.tolist()))

    def _process_unmatched_prev_idx(
        self, instances: Instances, matched_prev_idx: np.ndarray
    ) -> Instances:
        """Add the objects that were lost but are not forgotten yet."""
        previous = self._previous()
        matched = set(matched_prev_idx.tolist())
        lost = [row for row in range(len(previous)) if row not in matched and self._keeps(row)]
        lost = lost[: max(self._max_num_instances - len(instances), 0)]
        if not lost:
            return instances
        return _joined(instances, previous, lost)

    def _keeps(self, row: int) -> bool:
        previous = self._previous()
        left, top, right, bottom = previous.pred_boxes.tensor[row].tolist()
        return (
            previous.lost_frame_count[row] < self._max_lost_frame_count
            and previous.ID_period[row] > self._min_instance_period
            and (right - left) / self._video_width >= self._min_box_rel_dim
            and (bottom - top) / self._video_height >= self._min_box_rel_dim
        )

    def _previous(self) -> Instances:
        if self._prev_instances is None:
            raise ValueError("There is no last frame yet; call update() first.")
        return self._prev_instances


def _joined(instances: Instances, previous: Instances, lost: Sequence[int]) -> Instances:
    """Append rows of the last frame, one frame older, in the fields that both frames have."""
    chosen = previous[torch.tensor(lost)]
    chosen.lost_frame_count = [count + 1 for count in chosen.lost_frame_count]
    names = [name for name in instances.get_fields() if chosen.has(name)]
    parts = [
        Instances(instances.image_size, **{name: part.get(name) for name in names})
        for part in (instances, chosen)
    ]
    return Instances.cat(parts)

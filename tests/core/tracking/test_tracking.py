"""Objects keep their names from frame to frame, through gaps, and when they cross."""

import sys
from typing import Any

import numpy as np
import pytest
import torch

from d2seg.core.config import CfgNode
from d2seg.core.structures import Boxes, Instances
from d2seg.core.tracking import (
    BaseHungarianTracker,
    BaseTracker,
    BBoxIOUTracker,
    IOUWeightedHungarianBBoxIOUTracker,
    VanillaHungarianBBoxIOUTracker,
    build_tracker_head,
    create_prediction_pairs,
)

ALL = [BBoxIOUTracker, VanillaHungarianBBoxIOUTracker, IOUWeightedHungarianBBoxIOUTracker]
LEFT, RIGHT = [10.0, 10, 50, 60], [100.0, 20, 160, 80]


def frame(*boxes: list[float], **fields: Any) -> Instances:
    return Instances((120, 200), pred_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)), **fields)


def tracker(kind: Any = BBoxIOUTracker, **changes: Any) -> Any:
    return kind(**({"video_height": 120, "video_width": 200} | changes))


def moved(box: list[float], by: float) -> list[float]:
    return [side + by for side in box]


@pytest.mark.parametrize("kind", ALL)
def test_objects_keep_their_names_when_the_order_changes(kind: Any) -> None:
    follower = tracker(kind)
    first = follower.update(frame(LEFT, RIGHT))
    assert (first.ID, first.ID_period, first.lost_frame_count) == ([0, 1], [1, 1], [0, 0])
    given = frame(moved(RIGHT, 3), [150.0, 90, 190, 119], moved(LEFT, 2))
    second = follower.update(given)
    assert (second.ID, second.ID_period) == ([1, 2, 0], [2, 1, 2])
    assert not given.has("ID")
    third = follower.update(frame(moved(LEFT, 4)))
    assert (third.ID, third.ID_period) == ([0], [3])


@pytest.mark.parametrize("kind", ALL)
def test_lost_objects_are_kept_for_some_frames(kind: Any) -> None:
    follower = tracker(kind, max_lost_frame_count=2)
    follower.update(frame(LEFT, RIGHT))
    follower.update(frame(LEFT, RIGHT))
    seen = [follower.update(frame(RIGHT)) for _ in range(3)]
    assert [one.ID for one in seen] == [[1, 0], [1, 0], [1]]
    assert [one.lost_frame_count for one in seen] == [[0, 1], [0, 2], [0]]
    again = tracker(kind, max_lost_frame_count=2)
    again.update(frame(LEFT))
    again.update(frame(LEFT))
    again.update(frame())
    assert again.update(frame(moved(LEFT, 1))).ID == [0]


@pytest.mark.parametrize(
    ("changes", "box"),
    [
        ({}, LEFT),
        ({"max_lost_frame_count": 1, "min_instance_period": 2}, LEFT),
        ({"max_lost_frame_count": 1, "min_box_rel_dim": 0.25}, LEFT),
        ({"max_lost_frame_count": 1, "min_box_rel_dim": 0.45}, RIGHT),
        ({"max_lost_frame_count": 1, "max_num_instances": 1}, LEFT),
    ],
)
def test_what_is_forgotten_at_once(changes: dict[str, Any], box: list[float]) -> None:
    follower = tracker(**changes)
    other = [20.0, 90, 180, 118]
    follower.update(frame(box, other))
    follower.update(frame(box, other))
    assert follower.update(frame(other)).ID == [1]


def test_fields_of_lost_objects_are_kept_as_they_were() -> None:
    follower = tracker(max_lost_frame_count=3)
    points = torch.tensor([[[10.5, 20.7, 0.93]]])
    for _ in range(2):
        follower.update(frame(LEFT, pred_keypoints=points, scores=torch.tensor([0.8])))
    kept = follower.update(frame(pred_keypoints=points[:0]))
    assert torch.equal(kept.pred_keypoints, points)
    assert not kept.has("scores")


# The first box of the next frame overlaps both of the last one, its best is the other's only one.
BEFORE = [[0.0, 0, 100, 100], [0.0, 30, 100, 130]]
AFTER = [[0.0, 10, 100, 110], [0.0, -50, 100, 60]]


@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        (BBoxIOUTracker, [0, 2]),
        (VanillaHungarianBBoxIOUTracker, [1, 0]),
        (IOUWeightedHungarianBBoxIOUTracker, [1, 0]),
    ],
)
def test_greedy_and_joint_matching_differ(kind: Any, ids: list[int]) -> None:
    follower = tracker(kind, track_iou_threshold=0.35)
    follower.update(frame(*BEFORE))
    assert ids == follower.update(frame(*AFTER)).ID


def test_joint_matching_by_overlap_prefers_the_better_sum() -> None:
    before = [[0.0, 0, 100, 100], [0.0, 20, 100, 120]]
    after = [[0.0, 19, 100, 119], [0.0, 1, 100, 101]]
    follower = tracker(IOUWeightedHungarianBBoxIOUTracker)
    follower.update(frame(*before))
    assert follower.update(frame(*after)).ID == [1, 0]


def test_without_scipy_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    follower = tracker(VanillaHungarianBBoxIOUTracker)
    follower.update(frame(LEFT))
    with pytest.raises(ImportError, match="need the package scipy: .*or use BBoxIOUTracker"):
        follower.update(frame(LEFT))


def test_pairs_overlap_at_least_as_much_as_the_threshold() -> None:
    previous = frame(LEFT, RIGHT)
    previous.ID, previous.ID_period = [7, 9], [3, 4]
    iou = np.array([[0.2, 0.5], [0.6, 0.0]])
    assert create_prediction_pairs(frame(LEFT, RIGHT), previous, iou, 0.5) == [
        {"idx": 0, "prev_idx": 1, "prev_id": 9, "IoU": 0.5, "prev_period": 4},
        {"idx": 1, "prev_idx": 0, "prev_id": 7, "IoU": 0.6, "prev_period": 3},
    ]


@pytest.mark.parametrize("kind", ALL)
def test_trackers_are_built_from_a_config(kind: Any) -> None:
    keys = {
        "TRACKER_NAME": kind.__name__, "VIDEO_HEIGHT": 120, "VIDEO_WIDTH": 200,
        "MAX_NUM_INSTANCES": 10, "MAX_LOST_FRAME_COUNT": 3, "MIN_BOX_REL_DIM": 0.1,
        "MIN_INSTANCE_PERIOD": 2, "TRACK_IOU_THRESHOLD": 0.25,
    }  # fmt: skip
    built: Any = build_tracker_head(CfgNode({"TRACKER_HEADS": keys}))
    assert type(built) is kind
    assert (built._video_height, built._max_lost_frame_count) == (120, 3)
    assert built._track_iou_threshold == 0.25


def test_what_a_subclass_must_define_is_named() -> None:
    with pytest.raises(NotImplementedError, match=r"BaseTracker must define update\(\)"):
        BaseTracker().update(frame(LEFT))
    follower = tracker(BaseHungarianTracker)
    follower.update(frame(LEFT))
    with pytest.raises(NotImplementedError, match=r"must define build_cost_matrix\(\)"):
        follower.update(frame(LEFT))
    with pytest.raises(ValueError, match=r"no last frame yet; call update\(\) first"):
        tracker()._process_matched_idx(frame(LEFT), np.array([0]), np.array([0]))

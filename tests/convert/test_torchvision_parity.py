"""torchvision's detectors, converted: the same detections on the same images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from d2seg import Predictor
from d2seg.framework import DefaultPredictor
from tests.convert.detectors import (
    QUICK,
    converted_config,
    found_by_torchvision,
    image,
    thin_detector,
    whole_detector,
)
from tests.reference.compare import compare_detections


def differences(theirs: dict[str, Tensor], boxes: Tensor, scores: Tensor, classes: Tensor) -> Any:
    recorded = {
        "boxes": theirs["boxes"].numpy(),
        "scores": theirs["scores"].numpy(),
        "classes": theirs["labels"].numpy() - 1,
    }
    assert len(recorded["scores"]) >= 10  # or nothing is shown
    return compare_detections("image", recorded, boxes.numpy(), scores.numpy(), classes.numpy())


def check(
    theirs: dict[str, Tensor],
    predictor: DefaultPredictor,
    picture: np.ndarray,
    record_property: Callable[[str, object], None],
) -> None:
    ours = predictor(picture)["instances"]
    boxes = ours.pred_boxes.tensor
    assert not differences(theirs, boxes, ours.scores, ours.pred_classes)
    assert len(boxes) == len(theirs["boxes"])
    ours = ours[partners(theirs, boxes, ours.pred_classes)]
    far = (ours.pred_boxes.tensor - theirs["boxes"]).abs().max()
    record_property("torchvision_box_px", float(far))
    record_property("torchvision_score", float((ours.scores - theirs["scores"]).abs().max()))
    if "masks" in theirs:
        wanted = theirs["masks"][:, 0] >= 0.5
        assert ours.pred_masks.shape == wanted.shape
        assert share_of_other_pixels(ours.pred_masks, wanted) < 1e-3
    if "keypoints" in theirs:
        points, scores = theirs["keypoints"][:, :, :2], theirs["keypoints_scores"]
        near = (ours.pred_keypoints[:, :, :2] - points).abs().amax(dim=2) < 0.05
        assert near.float().mean() > 0.98  # equal peaks of a heat map may change places
        assert (ours.pred_keypoints[:, :, 2] - scores).abs().max() < 2e-3 * scores.abs().max()


def partners(theirs: dict[str, Tensor], boxes: Tensor, classes: Tensor) -> Tensor:
    """Find each detection's partner: equal scores may change places."""
    far = (theirs["boxes"][:, None] - boxes).abs().amax(dim=2)
    return (far + 1e6 * (theirs["labels"][:, None] - 1 != classes)).argmin(dim=1)


def share_of_other_pixels(masks: Tensor, wanted: Tensor) -> float:
    """Probabilities of almost one half, or corners of almost a whole pixel, may go either way."""
    return float((masks != wanted).sum() / wanted.sum())


@pytest.mark.parametrize("kind, seed", [("mask", 0), ("mask", 1), ("faster", 2), ("keypoint", 2)])
def test_thin_detectors(
    kind: str, seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    model = thin_detector(kind, seed)
    predictor = DefaultPredictor(converted_config(model, tmp_path, QUICK))
    for number, (height, width) in enumerate([(61, 90), (240, 130)]):
        picture = image(seed + number, height, width)
        check(found_by_torchvision(model, picture), predictor, picture, record_property)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", ["mask", "faster", "keypoint", "mask_v2"])
def test_published_detectors(
    kind: str, seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    model = whole_detector(kind, seed)
    predictor = DefaultPredictor(converted_config(model, tmp_path, QUICK))
    picture = image(seed + 5, 97, 150)
    check(found_by_torchvision(model, picture), predictor, picture, record_property)


@pytest.mark.slow
def test_torchvisions_own_arguments(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """800 to 1333 pixels, 1000 proposals, 100 detections: nothing is set on either side."""
    own = {"min_size": 800, "max_size": 1333, "rpn_post_nms_top_n_test": 1000}
    model = thin_detector("mask", 1, **own)
    predictor = DefaultPredictor(converted_config(model, tmp_path, {}))
    picture = image(8, 60, 131)  # 610 x 1333: the longer edge decides
    check(found_by_torchvision(model, picture), predictor, picture, record_property)


def test_the_predictor_of_every_backend_resizes_alike(tmp_path: Path) -> None:
    model = thin_detector("mask", 1)
    cfg = converted_config(model, tmp_path, QUICK)
    (tmp_path / "quick.yaml").write_text(cfg.dump())
    picture = image(4, 61, 90)
    theirs = found_by_torchvision(model, picture)
    found = Predictor(tmp_path / "quick.yaml")(picture, channel_order="BGR")
    assert not differences(theirs, found.boxes, found.scores, found.classes)
    found = found[partners(theirs, found.boxes, found.classes)]
    assert share_of_other_pixels(found.masks(), theirs["masks"][:, 0] >= 0.5) < 1e-3


def test_other_settings_find_other_boxes(tmp_path: Path) -> None:
    """Each of these conventions counts: without it the numbers move."""
    model = thin_detector("mask", 0)
    cfg = converted_config(model, tmp_path, QUICK)
    picture = image(0, 61, 90)
    wanted = DefaultPredictor(cfg)(picture)["instances"]
    for key, value in (
        ("INPUT.RESIZE_TEST", "pillow"),
        ("MODEL.ANCHOR_GENERATOR.WHOLE_PIXELS", False),
        ("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignV2"),
        ("MODEL.RESNETS.NORM_EPS", 0.01),
    ):
        other = cfg.clone()
        other.merge_from_list([key, value])
        found = DefaultPredictor(other)(picture)["instances"]
        boxes = found.pred_boxes.tensor
        same = len(found) == len(wanted) and torch.equal(boxes, wanted.pred_boxes.tensor)
        assert not same, key

"""Files for phones of converted detectors: what they find is what torchvision finds."""

from pathlib import Path

import pytest
import torch

from d2seg import Predictor
from d2seg.export.batched.deployable import BatchedRCNN
from d2seg.export.deployable import DeployableRCNN
from d2seg.export.description import DESCRIPTION_NAME, describe
from d2seg.export.torchscript import save_torchscript
from d2seg.framework import DefaultPredictor
from tests.convert.detectors import (
    QUICK,
    converted_config,
    found_by_torchvision,
    image,
    thin_detector,
)
from tests.convert.test_torchvision_parity import differences, partners, share_of_other_pixels


@pytest.mark.parametrize("kind, seed", [("mask", 1), ("keypoint", 2)])
def test_a_scripted_file_takes_torchvisions_place(kind: str, seed: int, tmp_path: Path) -> None:
    detector = thin_detector(kind, seed)
    cfg = converted_config(detector, tmp_path, QUICK)
    deployable = DeployableRCNN(
        DefaultPredictor(cfg).model,
        input_order="BGR",
        resize=(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
        full_masks=True,
        interpolate=True,
    )
    scripted = torch.jit.freeze(torch.jit.script(deployable))
    picture = image(3, 61, 90)
    theirs = found_by_torchvision(detector, picture)
    pixels = torch.from_numpy(picture.transpose(2, 0, 1).copy()).float()
    boxes, classes, detail, scores, _ = scripted(pixels)
    assert not differences(theirs, boxes, scores, classes)
    order = partners(theirs, boxes, classes)
    if kind == "mask":
        assert share_of_other_pixels(detail[order], theirs["masks"][:, 0] >= 0.5) < 1e-3
    else:
        wanted = theirs["keypoints_scores"]
        assert (detail[order][:, :, 2] - wanted).abs().max() < 2e-3 * wanted.abs().max()


def test_the_predictor_of_a_file_resizes_and_pastes_as_the_config_says(tmp_path: Path) -> None:
    detector = thin_detector("mask", 2)
    # Of proposals and detections that all round to 1, other operators keep others.
    detector.rpn.head.cls_logits.weight.data.mul_(0.2)
    detector.roi_heads.box_predictor.cls_score.weight.data.mul_(0.2)
    cfg = converted_config(detector, tmp_path, QUICK)
    model = DefaultPredictor(cfg).model
    described = describe(cfg, "ptl", True, "RGB", model=model).to_json()
    file = tmp_path / "mobile_optimized.ptl"
    save_torchscript(DeployableRCNN(model), file, {DESCRIPTION_NAME: described}, False)
    picture = image(3, 240, 130)
    found = Predictor(file)(picture, channel_order="BGR")
    theirs = found_by_torchvision(detector, picture)
    assert not differences(theirs, found.boxes, found.scores, found.classes)
    order = partners(theirs, found.boxes, found.classes)
    assert share_of_other_pixels(found.masks()[order], theirs["masks"][:, 0] >= 0.5) < 1e-3


def test_masks_of_the_image_are_refused_where_a_graph_pastes_otherwise(tmp_path: Path) -> None:
    cfg = converted_config(thin_detector("mask", 2), tmp_path, QUICK)
    model = DeployableRCNN(DefaultPredictor(cfg).model, full_masks=True)
    with pytest.raises(ValueError, match="full_masks is not for this model .* whole pixels"):
        BatchedRCNN(model)

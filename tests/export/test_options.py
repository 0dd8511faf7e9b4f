"""Limits, resizing inside and masks of the image."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from d2seg import cli
from d2seg.cli.export import add_arguments, read_options
from d2seg.export import export_model, inspect_file, read_description
from d2seg.export.deployable import DeployableRCNN
from d2seg.export.limits import limit_config, limit_model
from d2seg.export.torchscript import load_lite
from d2seg.framework import CfgNode
from tests.export.models import pictures, thin_config, thin_model
from tests.export.test_export_model import write_pictures
from tests.export.test_families import family
from tests.export.test_torchscript import KNOWN

FILE = "mobile_optimized.ptl"


def test_limits_reach_file_and_description(tmp_path: Path) -> None:
    cfg, model = thin_config(), thin_model()
    images = [write_pictures(tmp_path / "images")]
    options: dict[str, Any] = {"score_threshold": 0.4, "max_detections": 7, "images": images}
    report = export_model(model, cfg, tmp_path, **options)
    assert [image.num_file for image in report.images] == [7] * 6
    own = DeployableRCNN(model)(pictures()[0])
    outputs = load_lite(tmp_path / FILE)(pictures()[0])
    assert len(own[0]) == 40
    torch.testing.assert_close(outputs[0], own[0][:7], atol=1e-3, rtol=0)
    description = read_description(tmp_path / FILE)
    assert (description.score_threshold, description.max_detections) == (0.4, 7)
    assert "DETECTIONS_PER_IMAGE: 7" in description.config
    assert cfg.TEST.DETECTIONS_PER_IMAGE == 40
    assert model.roi_heads.box_predictor.test_topk_per_image == 40


@pytest.mark.parametrize("name", ["Cascade R-CNN with keypoints", "RetinaNet", "Mask R-CNN C4"])
def test_limits_of_every_family(name: str) -> None:
    _, model = family(name)
    image = pictures()[0]
    own = DeployableRCNN(model)(image)[-2]
    threshold = float(own[9])
    scores = DeployableRCNN(limit_model(model, score_threshold=threshold))(image)[-2]
    assert torch.equal(scores, own[own > threshold])
    scores = DeployableRCNN(limit_model(model, max_detections=5))(image)[-2]
    assert torch.equal(scores, own[:5])


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_score_threshold_out_of_range(value: float) -> None:
    with pytest.raises(ValueError, match=rf"\(--score-threshold\) is {value}, but scores are from"):
        limit_config(CfgNode(), value, None)


def test_fewer_than_one_detection() -> None:
    with pytest.raises(
        ValueError, match=r"max_detections \(--max-detections\) is 0, but must be at least 1"
    ):
        limit_config(CfgNode(), None, 0)


def write_photo(path: Path, height: int, width: int) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def test_resizing_inside_gives_what_the_predictor_gives(tmp_path: Path) -> None:
    cfg, model = family("masks and keypoints", INPUT__MIN_SIZE_TEST=96, INPUT__MAX_SIZE_TEST=160)
    photo = write_photo(tmp_path / "photo.png", 300, 420)
    report = export_model(model, cfg, tmp_path, images=[photo], resize_inside=True)
    assert report.images[0].size_hw == (300, 420)
    assert sum(image.num_matched for image in report.images) > 60
    boxes, _, masks, keypoints, *_, image_size = load_lite(tmp_path / FILE)(
        torch.from_numpy(np.asarray(Image.open(photo)).transpose(2, 0, 1).copy()).flip(0)
    )
    assert boxes[:, 0::2].max() > 200  # of the image, not of the 96 x 134 that the network sees
    assert keypoints[:, :, 0].max() > 200
    assert masks.shape[1:] == (1, 28, 28)
    assert image_size.tolist() == [300, 420]
    description = read_description(tmp_path / FILE)
    assert description.resize_inside
    assert (description.resize_short, description.resize_longest) == (96, 160)
    assert set(inspect_file(tmp_path / FILE).operators) <= set(KNOWN.read_text().splitlines())


def test_resizing_inside_of_thin_images(tmp_path: Path) -> None:
    deployable = DeployableRCNN(thin_model(), resize=(96, 160))
    for size_hw in [(1, 1), (3, 700), (900, 2)]:
        boxes, *_, image_size = deployable(torch.full((3, *size_hw), 120.0))
        assert image_size.tolist() == list(size_hw)
        assert (boxes <= torch.tensor([size_hw[1], size_hw[0]] * 2)).all()


def test_resizing_inside_needs_a_size() -> None:
    with pytest.raises(ValueError, match="needs INPUT.MIN_SIZE_TEST .* they are 0 and 160"):
        DeployableRCNN(thin_model(), resize=(0, 160))


@pytest.mark.parametrize("resize_inside", [True, False])
def test_full_masks_are_those_of_the_model(tmp_path: Path, resize_inside: bool) -> None:
    cfg, model = thin_config(), thin_model()
    images = [write_pictures(tmp_path / "images")]
    options: dict[str, Any] = {"full_masks": True, "resize_inside": resize_inside}
    report = export_model(model, cfg, tmp_path, images=images, **options)
    assert sum(image.num_matched for image in report.images) > 100
    masks = read_description(tmp_path / FILE).outputs[2]
    assert (masks.shape, masks.dtype) == (["N", "H", "W"], "bool")
    assert set(inspect_file(tmp_path / FILE).operators) <= set(KNOWN.read_text().splitlines())
    outputs = load_lite(tmp_path / FILE)(pictures()[0])
    assert outputs[2].shape == (len(outputs[0]), 97, 150)
    assert outputs[2].dtype == torch.bool


def test_full_masks_of_nothing() -> None:
    model = limit_model(thin_model(), score_threshold=1.0)
    masks = DeployableRCNN(model, full_masks=True)(pictures()[0])[2]
    assert (tuple(masks.shape), masks.dtype) == ((0, 97, 150), torch.bool)


def test_options_come_from_the_command_line_or_the_config() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    cfg = thin_config(EXPORT__SCORE_THRESHOLD=0.3, EXPORT__RESIZE_INSIDE=True)
    needed = ["--config-file", "x.yaml", "--output", "out"]
    options = read_options(parser.parse_args(needed), cfg)
    assert options["score_threshold"] == 0.3
    assert options["max_detections"] is None
    assert (options["resize_inside"], options["full_masks"]) == (True, False)
    given = ["--score-threshold", "0", "--max-detections", "3", "--full-masks"]
    options = read_options(parser.parse_args([*needed, *given]), cfg)
    assert (options["score_threshold"], options["max_detections"]) == (0.0, 3)
    assert options["full_masks"]


def test_command_takes_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", "--config-file", "d2seg/assets/nuclei.yaml", "--output", str(tmp_path)]
    given = ["--score-threshold", "0.6", "--max-detections", "9"]
    assert cli.main([*arguments, *given]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.endswith("same")]
    assert [int(row[2]) for row in rows[:2]] == [9, 8]
    assert cli.main([*arguments, "--max-detections", "-1"]) == 1
    assert (
        "max_detections (--max-detections) is -1, but must be at least 1" in capsys.readouterr().err
    )

"""From a model to a verified file, from Python and from the command line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from d2seg import cli
from d2seg.export import ParityError, export_model, inspect_file, read_description
from d2seg.export.deployable import DeployableRCNN
from d2seg.export.images import verification_images
from d2seg.export.torchscript import load_lite
from d2seg.framework import DetectionCheckpointer
from d2seg.postprocess import postprocess
from tests.export.models import pictures, thin_config, thin_model
from tests.reference.cases import case_config, case_model

NUCLEI = "d2seg/assets/nuclei.yaml"


def write_pictures(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for index, picture in enumerate(pictures()[:2]):
        pixels = picture.flip(0).permute(1, 2, 0).numpy().astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


class Tampered(DeployableRCNN):
    """Decodes boxes with other weights, as a wrong conversion might."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.detector.boxes.heads[0].weights = [5.0, 5.0, 5.0, 5.0]


def test_images_are_real_ones_in_two_sizes_and_a_blank_one(tmp_path: Path) -> None:
    images = verification_images(thin_config(), [write_pictures(tmp_path / "images")])
    assert [tuple(image.shape) for image in images[:2]] == [(3, 96, 148), (3, 160, 86)]
    assert images[2].shape not in (images[0].shape, images[1].shape)
    assert images[2].std() > 10
    assert max(images[3].shape) > 1.4 * max(images[0].shape)
    assert max(images[4].shape) < 30
    assert all(torch.equal(image, image.round()) for image in images)
    assert images[-1].shape == images[0].shape
    assert 0 < images[-1].std(dim=(1, 2)).max() < 3  # nothing but grain
    shipped = verification_images(thin_config())
    assert len({tuple(image.shape) for image in shipped}) >= 2


@pytest.mark.parametrize("input_order", [None, "RGB"])
@pytest.mark.parametrize("aten_only", [True, False])
def test_file_is_written_verified_and_described(
    tmp_path: Path, input_order: str | None, aten_only: bool
) -> None:
    images = [write_pictures(tmp_path / "images")]
    model = thin_model()
    model.train()  # as after training; the file and the comparison are those of inference
    report = export_model(
        model,
        thin_config(),
        tmp_path / "deep" / "folder",
        aten_only=aten_only,
        input_order=input_order,
        images=images,
    )
    assert report.passed
    assert sum(image.num_matched for image in report.images) > 20
    assert model.training
    written = list((tmp_path / "deep" / "folder").iterdir())
    assert [path.name for path in written] == ["mobile_optimized.ptl"]
    assert read_description(written[0]).input_order == (input_order or "BGR")


def test_postprocess_gives_what_the_model_gives(tmp_path: Path) -> None:
    model = thin_model()
    export_model(model, thin_config(), tmp_path, images=[write_pictures(tmp_path / "images")])
    image = pictures()[0]
    found = postprocess(load_lite(tmp_path / "mobile_optimized.ptl")(image), to_hw=(194, 225))  # type: ignore[arg-type]
    with torch.inference_mode():
        eager = model([{"image": image, "height": 194, "width": 225}])[0]["instances"]
    torch.testing.assert_close(found.boxes, eager.pred_boxes.tensor, atol=5e-3, rtol=0)
    assert torch.equal(found.classes, eager.pred_classes)
    assert (found.masks != eager.pred_masks).float().mean() < 1e-4


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d2seg.export.DeployableRCNN", Tampered)
    (tmp_path / "mobile_optimized.ptl").write_text("an earlier file")
    images = [write_pictures(tmp_path / "images")]
    with pytest.raises(ParityError, match="finds other objects than the model in .* of 6 images"):
        export_model(thin_model(), thin_config(), tmp_path, images=images)
    assert (tmp_path / "mobile_optimized.ptl").read_text() == "an earlier file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "mobile_optimized.ptl"]
    report = export_model(thin_model(), thin_config(), tmp_path, images=images, keep_different=True)
    assert not report.passed
    assert read_description(tmp_path / "mobile_optimized.ptl").format == "ptl"


def test_what_a_killed_export_left_is_removed(tmp_path: Path) -> None:
    mine, other = tmp_path / ".mobile_optimized-ab12cd34.ptl", tmp_path / ".other-ab12cd34.ptl"
    for path in (mine, other):
        path.write_text("half of it")
    cfg = thin_config()
    export_model(thin_model(cfg), cfg, tmp_path, images=[write_pictures(tmp_path / "images")])
    assert not mine.exists()
    assert other.exists()


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format is 'tflite'; use one of ptl, pte, onnx, openvino"):
        export_model(thin_model(), thin_config(), tmp_path, format="tflite")
    assert list(tmp_path.iterdir()) == []


def test_command_exports_the_shipped_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record_property: Any
) -> None:
    arguments = ["export", "--config-file", NUCLEI, "--format", "ptl", "--output", str(tmp_path)]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr()
    path = tmp_path / "mobile_optimized.ptl"
    assert f"{path}: 11.2 MB" in printed.out
    assert "operators (aten), bytecode version 8" in printed.out
    assert "input: BGR" in printed.out
    rows = [line.split() for line in printed.out.splitlines() if line.endswith("same")]
    assert [row[1] == row[2] == row[3] for row in rows] == [True] * 6
    assert int(rows[0][1]) > 50
    assert int(rows[-1][1]) == 0  # the blank image
    record_property("file against model", "; ".join(" ".join(row) for row in rows))


def test_command_takes_order_operators_images_and_overrides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_pictures(tmp_path / "images")
    arguments = ["export", "--config-file", NUCLEI, "--ops", "torchvision", "--input-order", "RGB"]
    overrides = ["MODEL.WEIGHTS", "", "INPUT.MIN_SIZE_TEST", "64"]
    output = ["--images", str(images), "--output", str(tmp_path), *overrides]
    assert cli.main([*arguments, *output]) == 0
    printed = capsys.readouterr()
    assert "operators (torchvision)" in printed.out
    assert "input: RGB" in printed.out
    assert "MODEL.WEIGHTS is empty: exporting random weights" in printed.err
    assert printed.out.count("  same\n") == 6


def test_command_fails_when_the_file_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("d2seg.export.DeployableRCNN", Tampered)
    cfg = thin_config()
    DetectionCheckpointer(thin_model(cfg), str(tmp_path)).save("weights")
    (tmp_path / "config.yaml").write_text(cfg.dump())
    images = write_pictures(tmp_path / "images")
    arguments = ["export", "--config-file", str(tmp_path / "config.yaml"), "--images", str(images)]
    output = ["--output", str(tmp_path / "out"), "MODEL.WEIGHTS", str(tmp_path / "weights.pth")]
    assert cli.main([*arguments, *output]) == 1
    printed = capsys.readouterr()
    assert "DIFFERS" in printed.out
    assert printed.err.count("\n") == 1
    assert "d2seg: error: The exported file finds other objects than the model" in printed.err
    assert not (tmp_path / "out").exists()
    assert cli.main([*arguments, "--keep-different", *output]) == 0
    printed = capsys.readouterr()
    assert "DIFFERS" in printed.out
    assert "The exported file finds other objects" in printed.err
    assert "it was kept because of --keep-different" in printed.err
    assert (tmp_path / "out" / "mobile_optimized.ptl").is_file()


def test_command_says_when_nothing_was_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.9999"]
    arguments = ["export", "--config-file", NUCLEI, "--output", str(tmp_path), *overrides]
    assert cli.main(arguments) == 0
    assert "Nothing was found in any image" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("aten_only", [True, False])
def test_full_size_network_at_parity(tmp_path: Path, aten_only: bool, record_property: Any) -> None:
    name = "COCO-InstanceSegmentation__mask_rcnn_R_50_FPN_3x"
    sizes = ["MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", 160, "INPUT.MAX_SIZE_TEST", 256]
    images = [write_pictures(tmp_path / "images")]
    cfg, model = case_config(name, sizes), case_model(name, sizes)
    report = export_model(model, cfg, tmp_path, aten_only=aten_only, images=images)
    found = [100, 100, 100, 100, 32, 100]  # the fifth is tiny
    assert [image.num_matched for image in report.images] == found
    worst = max(image.box_difference for image in report.images)
    assert worst < 5e-3
    facts = inspect_file(tmp_path / "mobile_optimized.ptl")
    (tmp_path / "mobile_optimized.ptl").unlink()  # pytest would keep it for three runs
    assert facts.megabytes < 180
    record_property(
        "R50-FPN file",
        f"{facts.megabytes:.1f} MB, {len(facts.operators)} operators, all 532 detections matched, "
        f"boxes within {worst:.1e} px",
    )

"""Whole conversions of files: what is written, what is said, and what is refused."""

import hashlib
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from d2seg.class_names import class_names
from d2seg.cli import main
from d2seg.config import load_config
from d2seg.convert import convert
from d2seg.core.checkpoint import DetectionCheckpointer
from d2seg.core.checkpoint.formats.background import restore_background
from d2seg.core.checkpoint.formats.maskrcnn_benchmark import _layer_names as benchmark_layers
from d2seg.core.checkpoint.formats.renamed import rename_back
from d2seg.framework import DefaultPredictor, build_model
from tests.convert.detectors import image, thin_detector
from tests.convert.names import Shapes
from tests.core.modeling.thin import thin_config, thin_model


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def saved(path: Path, state: Any) -> Path:
    torch.save(state, path)
    return path


def arrays(shapes: Shapes) -> dict[str, np.ndarray]:
    """Return small random arrays that follow from their names."""
    made = {}
    for name, shape in shapes.items():
        random = np.random.RandomState(zlib.crc32(name.encode()))
        made[name] = (random.standard_normal(shape) * 0.05).astype(np.float32)
    return made


def thin_detectron() -> dict[str, np.ndarray]:
    """Return the blobs of a Mask R-CNN of Detectron with hardly a channel, 3 classes."""
    shapes: Shapes = {"conv1_w": (8, 3, 7, 7), "res_conv1_bn_s": (8,), "res_conv1_bn_b": (8,)}
    before = 8
    for stage, blocks in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
        for block in range(blocks):
            name = f"res{stage}_{block}_branch"
            layers = {"2a": (4, before, 1, 1), "2b": (4, 4, 3, 3), "2c": (16, 4, 1, 1)}
            if block == 0:
                layers["1"] = (16, before, 1, 1)
            factor = 2 ** (stage - 2)
            for layer, shape in layers.items():
                out = shape[0] * factor
                inputs = before if layer in ("2a", "1") else shape[1] * factor
                shapes[f"{name}{layer}_w"] = (out, inputs, *shape[2:])
                shapes[f"{name}{layer}_bn_s"] = shapes[f"{name}{layer}_bn_b"] = (out,)
            before = 16 * factor
        lateral = f"fpn_inner_res{stage}_{blocks - 1}_sum" + ("" if stage == 5 else "_lateral")
        shapes |= _with_bias(lateral, (8, before, 1, 1))
        shapes |= _with_bias(f"fpn_res{stage}_{blocks - 1}_sum", (8, 8, 3, 3))
    for name, shape in (
        ("conv_rpn_fpn2", (8, 8, 3, 3)),
        ("rpn_cls_logits_fpn2", (3, 8, 1, 1)),
        ("rpn_bbox_pred_fpn2", (12, 8, 1, 1)),
        ("fc6", (16, 8 * 49)),
        ("fc7", (16, 16)),
        ("cls_score", (4, 16)),
        ("bbox_pred", (16, 16)),
        ("_[mask]_fcn1", (8, 8, 3, 3)),
        ("conv5_mask", (8, 8, 2, 2)),
        ("mask_fcn_logits", (4, 8, 1, 1)),
    ):
        shapes |= _with_bias(name, shape)
    return arrays(shapes)


def _with_bias(name: str, shape: tuple[int, ...]) -> Shapes:
    return {f"{name}_w": shape, f"{name}_b": shape[:1]}


@pytest.mark.parametrize("kind", ["mask", "keypoint"])
def test_torchvision_there_and_back_is_exact(kind: str, tmp_path: Path) -> None:
    theirs = thin_detector(kind, 0).state_dict()
    ours = tmp_path / "ours.pth"
    report = convert(saved(tmp_path / "theirs.pth", theirs), ours)
    assert len(report.renamed) + len(report.matched) == len(theirs)
    assert report.files == [str(ours), str(tmp_path / "ours.yaml")]
    back = convert(
        ours, tmp_path / "back.pth", to="torchvision", config_file=str(tmp_path / "ours.yaml")
    )
    assert equal(torch.load(tmp_path / "back.pth"), theirs)
    assert not back.dropped and not back.not_exact


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
def test_every_kind_of_file_holds_the_same_weights(suffix: str, tmp_path: Path) -> None:
    state = thin_model().state_dict()
    first = tmp_path / f"first{suffix}"
    report = convert(saved(tmp_path / "model.pth", {"model": state, "iteration": 3}), first)
    assert report.files == [str(first)]  # the config stays as it was
    convert(first, tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth")["model"]
    assert equal(back, {k: v for k, v in state.items() if not k.startswith("pixel_")})
    model = build_model(thin_config())
    DetectionCheckpointer(model).load(str(first))
    assert equal(model.state_dict(), state)
    if suffix == ".safetensors":
        assert equal(load_file(first), back)


def test_detectron_becomes_a_model_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blobs = thin_detectron()
    file = tmp_path / "detectron.pkl"
    momentum = {"conv1_w_momentum": blobs["conv1_w"]}
    file.write_bytes(pickle.dumps({"blobs": {**blobs, **momentum}}, protocol=2))
    assert main(["convert", str(file), "--output", str(tmp_path / "ours.pth")]) == 0
    said = capsys.readouterr().out
    assert "Mask R-CNN, ResNet-50 FPN, 3 classes" in said
    assert "Boxes there include their last pixel" in said
    assert "reordered  6" in said and "missing    0" in said
    cfg = load_config(tmp_path / "ours.yaml", ["MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "64"])
    assert cfg.MODEL.PIXEL_MEAN == [102.9801, 115.9465, 122.7717]
    predictor = DefaultPredictor(cfg)
    layer = predictor.model.roi_heads.box_predictor.cls_score.weight
    assert torch.equal(layer, torch.from_numpy(np.roll(blobs["cls_score_w"], -1, axis=0)))
    predictor(image(1, 50, 70))
    again = convert(file, tmp_path / "again.pth", config_file=str(tmp_path / "ours.yaml"))
    assert any("Boxes there include" in words for words in again.not_exact)
    # The checkpointer finds the same in the file itself.
    model = build_model(cfg)
    DetectionCheckpointer(model).load(str(file))
    assert equal(model.state_dict(), predictor.model.state_dict())


def test_the_checkpointer_takes_torchvisions_file_as_it_is(tmp_path: Path) -> None:
    theirs = saved(tmp_path / "theirs.pth", thin_detector("faster", 2).state_dict())
    convert(theirs, tmp_path / "ours.pth")
    cfg = load_config(tmp_path / "ours.yaml", ["MODEL.DEVICE", "cpu"])
    models = [build_model(cfg), build_model(cfg)]
    for model, file in zip(models, (theirs, tmp_path / "ours.pth"), strict=True):
        DetectionCheckpointer(model).load(str(file))
    assert equal(models[0].state_dict(), models[1].state_dict())


def test_a_classifier_becomes_a_backbone(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    state = resnet18().state_dict()
    report = convert(saved(tmp_path / "resnet18.pth", state), tmp_path / "backbone.pkl")
    assert any("Faster R-CNN to be trained" in note for note in report.notes)
    cfg = load_config(tmp_path / "backbone.yaml", ["MODEL.DEVICE", "cpu"])
    for file in ("backbone.pkl", "resnet18.pth"):
        model = build_model(cfg)
        DetectionCheckpointer(model).load(str(tmp_path / file))
        body = model.backbone.bottom_up
        assert torch.equal(body.stem.conv1.weight, state["conv1.weight"])
        assert torch.equal(body.res5[1].conv2.norm.running_var, state["layer4.1.bn2.running_var"])
    convert(tmp_path / "backbone.pkl", tmp_path / "back.pth", to="torchvision")
    assert equal(torch.load(tmp_path / "back.pth"), state)


def test_published_detectors_without_an_eps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(tmp_path / "theirs.pth", thin_detector("faster", 0).state_dict())
    convert(file, tmp_path / "set.pth", norm_eps=0.0)
    assert load_config(tmp_path / "set.yaml").MODEL.RESNETS.NORM_EPS == 0.0
    convert(file, tmp_path / "usual.pth")
    assert load_config(tmp_path / "usual.yaml").MODEL.RESNETS.NORM_EPS == 1e-5
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr("d2seg.convert.model_config._LEGACY_EPS", (digest[:8],))
    convert(file, tmp_path / "known.pth")
    cfg = load_config(tmp_path / "known.yaml", ["MODEL.DEVICE", "cpu"])
    assert build_model(cfg).backbone.bottom_up.res3[0].conv1.norm.eps == 0.0


def test_class_names_of_cocos_ninety_labels(tmp_path: Path) -> None:
    model = thin_detector("faster", 0)
    model.roi_heads.box_predictor.cls_score = nn.Linear(64, 91)
    model.roi_heads.box_predictor.bbox_pred = nn.Linear(64, 364)
    convert(saved(tmp_path / "theirs.pth", model.state_dict()), tmp_path / "ours.pth")
    names = class_names(load_config(tmp_path / "ours.yaml"))
    assert (names[0], names[11], names[89]) == ("person", "N/A", "toothbrush")


def refuse(tmp_path: Path, state: Any, message: str, **arguments: Any) -> None:
    """Check that a file is refused, and that nothing is written."""
    file = saved(tmp_path / "theirs.pth", state)
    with pytest.raises(ValueError, match=message):
        convert(file, tmp_path / "out" / "ours.pth", **arguments)
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_lists_what_was_looked_for(tmp_path: Path) -> None:
    message = (
        r"theirs.pth' is of no known format: its 2 names, such as encoder.weight, head.bias, have "
        r"none of backbone.bottom_up.*\(detectron2\); backbone.body.stem.conv1 "
        r"\(maskrcnn-benchmark\); .*\(torchvision detection\); layer1.0 .*Caffe2"
    )
    refuse(tmp_path, {"encoder.weight": torch.ones(2), "head.bias": torch.ones(2)}, message)


def test_a_relative_of_a_known_network_is_refused(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    state = dict(resnet18().state_dict()) | {"layer1.0.se.fc1.weight": torch.ones(2, 2)}
    refuse(
        tmp_path,
        state,
        r"looks like a file of torchvision or timm ResNet, but 1 of its 123 names are of no layer "
        r"that such a model has here: layer1.0.se.fc1.weight. It is another architecture",
    )


def test_half_of_a_detector_is_refused(tmp_path: Path) -> None:
    state = thin_detector("mask", 0).state_dict()
    missing = "roi_heads.box_head.fc7.weight"
    lacking = {name: tensor for name, tensor in state.items() if name != missing}
    refuse(
        tmp_path,
        lacking,
        r"does not hold the whole model that its names tell of: 1 missing: "
        r"roi_heads.box_head.fc2.weight",
    )


def test_another_depth_is_refused(tmp_path: Path) -> None:
    state = thin_detector("faster", 0).state_dict()
    shallow = {name: tensor for name, tensor in state.items() if "layer3.1." not in name}
    refuse(tmp_path, shallow, r"ResNet has \[2, 2, 1, 2\] blocks in its stages, which is none of")


def test_a_config_of_another_model_is_refused(tmp_path: Path) -> None:
    refuse(
        tmp_path,
        {"model": thin_model().state_dict()},
        r"does not hold the whole model .* of another shape: backbone",
        config_file="COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    )


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    file = saved(tmp_path / "model.pth", {"model": thin_model().state_dict()})
    with pytest.raises(ValueError, match=r"must end in .pth, .pkl, .safetensors, which says how"):
        convert(file, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match=r"The output .* is the input; name another file"):
        convert(file, file)
    with pytest.raises(FileNotFoundError, match=r"There is no weight file '.*none.pth'"):
        convert(tmp_path / "none.pth", tmp_path / "ours.pth")
    with pytest.raises(ValueError, match=r"do not say how the model computes; give its config"):
        convert(file, tmp_path / "theirs.pth", to="torchvision")


def test_an_error_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = saved(tmp_path / "theirs.pth", {"encoder.weight": torch.ones(2)})
    assert main(["convert", str(file), "--output", str(tmp_path / "ours.pth")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("d2seg: error: '") and error.count("\n") == 1


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_class_names_go_along(suffix: str, tmp_path: Path) -> None:
    names = ["cell", "bone", "leaf", "stone", "fish"]
    cfg = thin_config()
    state = {"model": thin_model().state_dict(), "classes": {"thing_classes": names}}
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    convert(saved(tmp_path / "model.pth", state), first)
    convert(first, second)
    cfg.MODEL.WEIGHTS = str(second)
    assert class_names(cfg) == names


def test_entries_that_make_no_sense_are_passed_over(tmp_path: Path) -> None:
    state = {"model": thin_model().state_dict(), "classes": 3, "background_rows": [1]}
    convert(saved(tmp_path / "model.pth", state), tmp_path / "ours.pth")
    assert torch.load(tmp_path / "ours.pth").keys() == {"model", "__author__"}


def test_the_checkpointer_takes_maskrcnn_benchmarks_file_as_it_is(tmp_path: Path) -> None:
    wanted = {
        name: value for name, value in thin_model().state_dict().items() if "pixel" not in name
    }
    theirs, places = rename_back(restore_background(wanted, {}), benchmark_layers(True))
    assert len(places) == len(wanted)
    state = {f"module.{name}": value for name, value in theirs.items()}
    state["module.rpn.anchor_generator.cell_anchors.0"] = torch.zeros(3, 4)
    model = build_model(thin_config())
    file = saved(tmp_path / "model_final.pth", {"model": state, "iteration": 90000})
    DetectionCheckpointer(model).load(str(file))
    assert all(torch.equal(model.state_dict()[name], wanted[name]) for name in wanted)

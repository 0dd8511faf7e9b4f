"""OpenVINO files: written, described, run, and what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import openvino
import pytest

from d2seg import cli
from d2seg.assets import DEMO_CONFIG_FILE
from d2seg.export import ParityError, export_model, read_description
from d2seg.export.batched.verify import compare_batch
from d2seg.export.openvino import export as openvino_export
from d2seg.export.openvino.file import load_openvino, openvino_files, usable_device
from d2seg.predict import Predictor
from tests.export.graph_models import many_pictures, onnx_file, openvino_file
from tests.export.models import pictures, thin_config, thin_model
from tests.export.test_export_model import write_pictures
from tests.export.test_onnx import MASKS, check

IMAGES = Path(DEMO_CONFIG_FILE).parent / "images"


def test_single_image_finds_what_the_model_finds() -> None:
    path, _, model = openvino_file(MASKS, "single")
    run = load_openvino(path)
    rows = [compare_batch(model, run, [image])[0] for image in many_pictures()]
    assert check(rows) > 60
    assert rows[-1].num_file == 0
    shapes = [tuple(one.shape) for one in run(many_pictures()[-1])]
    assert shapes == [(0, 4), (0,), (0, 1, 28, 28), (0, 4, 3), (0,), (2,)]
    found = Predictor(path)(pictures()[0].byte().permute(1, 2, 0).numpy(), "BGR")
    assert found.masks().shape[1:] == (97, 150)
    assert found.keypoints is not None
    assert Predictor(path).device == "cpu"
    assert Predictor(path, device="auto").device == "auto"


def test_description_is_in_the_graph_and_numbers_beside_it() -> None:
    path, cfg, _ = openvino_file(MASKS, "single")
    description = read_description(path)
    assert description.format == "openvino"
    assert description.config == cfg.dump()
    model = openvino.Core().read_model(path)
    assert json.loads(model.get_rt_info(["d2seg", "description"]).value)["input_order"] == "BGR"
    assert [one.get_any_name() for one in model.inputs] == ["image"]
    assert {one.name for one in path.parent.iterdir()} == {"model.xml", "model.bin"}


def test_arithmetic_is_float32_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    compile_model = openvino.Core.compile_model

    def listen(core: Any, model: Any, device: str, options: dict[str, Any]) -> Any:
        asked.append(options)
        return compile_model(core, model, device, options)

    monkeypatch.setattr(openvino.Core, "compile_model", listen)
    path = openvino_file(MASKS, "single").path
    load_openvino(path)
    load_openvino(path, precision="bf16")
    load_openvino(path, precision="")
    hints = [options.get("INFERENCE_PRECISION_HINT") for options in asked]
    assert hints == ["f32", "bf16", None]


def test_both_files_come_or_none(tmp_path: Path) -> None:
    path, weights = tmp_path / "model.xml", tmp_path / "model.bin"
    path.write_text("earlier graph")
    weights.write_text("earlier numbers")
    with pytest.raises(KeyError), openvino_files(path) as (graph, numbers):
        graph.write_text("new graph")
        numbers.write_text("new numbers")
        raise KeyError
    assert (path.read_text(), weights.read_text()) == ("earlier graph", "earlier numbers")
    with openvino_files(path) as (graph, numbers):
        graph.write_text("new graph")
        numbers.write_text("new numbers")
    assert (path.read_text(), weights.read_text()) == ("new graph", "new numbers")
    assert len(os.listdir(tmp_path)) == 2


def test_keypoints_are_not_quantised(tmp_path: Path) -> None:
    _, cfg, model = onnx_file(MASKS, "single")
    options: dict[str, Any] = {"weights": "int8", "calibration": [IMAGES]}
    with pytest.raises(ValueError, match="int8' .* are not for models with keypoints, whose loop"):
        export_model(model, cfg, tmp_path / "out", "openvino", **options)
    assert list(tmp_path.iterdir()) == []


def test_somebody_elses_graph_is_refused(tmp_path: Path) -> None:
    path = openvino_file(MASKS, "single").path
    other = tmp_path / "other.xml"
    text = path.read_text()
    start, end = text.index("<d2seg>"), text.index("</d2seg>") + len("</d2seg>")
    other.write_text(text[:start] + text[end:])
    with pytest.raises(ValueError, match="other.xml' was not exported by d2seg: 'd2seg/descr"):
        Predictor(other)
    for content, sentence in (
        (text[:500], "is not XML, or is truncated"),
        ("<note/>", "is not a graph of OpenVINO: it has no <net>"),
    ):
        other.write_text(content)
        with pytest.raises(ValueError, match=sentence):
            read_description(other)
    other.write_text(text)
    with pytest.raises(FileNotFoundError, match="has its weights in '.*other.bin', which is miss"):
        Predictor(other)
    other.with_suffix(".bin").write_bytes(b"1234")
    with pytest.raises(ValueError, match="OpenVINO cannot load '.*other.xml'"):
        Predictor(other)


def test_a_device_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    assert usable_device(openvino.Core(), "cpu") == "CPU"
    assert usable_device(openvino.Core(), "auto") == "AUTO"
    assert not caplog.messages
    assert usable_device(openvino.Core(), "cuda:1") == "CPU"
    assert caplog.messages == ["OpenVINO has no device 'cuda:1' here; using the CPU."]


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    path = openvino_file(MASKS, "single").path
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"need openvino: pip install \"d2seg\[openvino\]\""):
        Predictor(path)


def test_calibration_images_that_are_not_there(tmp_path: Path) -> None:
    options: dict[str, Any] = {"weights": "int8", "calibration": [tmp_path / "nowhere"]}
    with pytest.raises(FileNotFoundError, match="nowhere"):
        export_model(thin_model(), thin_config(), tmp_path / "out", "openvino", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "options", "sentence"),
    [
        (
            "openvino",
            {"weights": "int8"},
            "needs calibration images: give a folder of some hundred",
        ),
        ("openvino", {"calibration": [IMAGES]}, "not for 'openvino' with 'fp32'"),
        ("ptl", {"weights": "int8", "calibration": [IMAGES]}, "'pte' with weights 'int8', not for"),
    ],
)
def test_calibration_goes_with_int8_arithmetic(
    tmp_path: Path, format: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        export_model(thin_model(), thin_config(), tmp_path / "out", format, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cfg, model = onnx_file(MASKS, "single")  # with a threshold of its own
    monkeypatch.setattr(openvino_export, "convert", lambda module: openvino.convert_model(path))
    options: dict[str, Any] = {"images": [write_pictures(tmp_path / "images")]}
    with pytest.raises(ParityError, match="finds other objects than the model"):
        export_model(model, cfg, tmp_path / "out", "openvino", score_threshold=0.3, **options)
    assert not (tmp_path / "out").exists()
    options["keep_different"] = True
    report = export_model(model, cfg, tmp_path / "out", "openvino", score_threshold=0.3, **options)
    assert not report.passed
    assert read_description(tmp_path / "out" / "model.xml").format == "openvino"


@pytest.mark.slow
def test_command_writes_half_weights_in_batches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--format", "openvino", "--weights", "half", "--batched", "--max-detections", "60"]
    arguments = ["--config-file", str(DEMO_CONFIG_FILE), "--output", str(tmp_path)]
    assert cli.main(["export", *arguments, *options, "--input-order", "RGB"]) == 0
    printed = capsys.readouterr().out
    assert "model.bin of 5.5 MB" in printed
    assert "the file in OpenVINO against the model" in printed
    assert printed.count("  same") == 11  # six images alone, and batches of two and of three
    description = read_description(tmp_path / "model.xml")
    assert (description.input_order, description.weights) == ("RGB", "half")
    assert description.outputs[1].shape == ["B", 60, 4]
    images = sorted(IMAGES.iterdir())[:3]
    predictor = Predictor(tmp_path / "model.xml", batch_size=3)
    assert predictor.batch_size == 3
    counts = [len(found) for found in predictor(images)]
    assert counts == [len(predictor(image)) for image in images]
    assert max(counts) == 60

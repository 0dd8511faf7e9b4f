"""What is said of ONNX and OpenVINO files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest

from d2seg import cli
from d2seg.export.description import DESCRIPTION_NAME, ModelDescription, describe
from d2seg.export.openvino.file import openvino_files, save_openvino
from d2seg.inspect import UnreadableFileError, inspect_artefact
from tests.export.models import thin_config


def description(format: str) -> ModelDescription:
    return replace(describe(thin_config(), format, False, "RGB"), operators="onnx")


def write_onnx(path: Path, described: bool = True, domain: str = "") -> Path:
    """Write a file with one convolution and one ReLU."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weight = onnx.numpy_helper.from_array(np.zeros((4, 3, 1, 1), np.float32), "weight")
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["y"]),
        helper.make_node("Relu", ["y"], ["z"], domain=domain),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", kind, [1, 3, "H", "W"])],
        [helper.make_tensor_value_info("z", kind, [1, 4, "H", "W"])],
        [weight],
    )
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    if described:
        helper.set_model_props(proto, {DESCRIPTION_NAME: description("onnx").to_json()})
    onnx.save(proto, path)
    return path


def write_xml(path: Path, half: bool = False) -> Path:
    """Write the same for OpenVINO."""
    model = openvino.convert_model(write_onnx(path.with_suffix(".onnx")))
    text = replace(description("openvino"), weights="half" if half else "fp32")
    with openvino_files(path) as (graph, weights):
        save_openvino(model, text, graph, weights)
    return path


def test_onnx_is_described_and_loaded_by_onnxruntime(tmp_path: Path) -> None:
    found = inspect_artefact(write_onnx(tmp_path / "model.onnx"))
    assert (found.contents.format, found.contents.bytecode_version) == ("onnx", 18)
    assert found.contents.operators == {"onnx::Conv": 1, "onnx::Relu": 1}
    assert found.contents.stored == {"float32": 12}
    assert found.contents.description == description("onnx")
    assert list(found.verdicts) == ["installed"]
    verdict = found.verdicts["installed"]
    assert (verdict.runtime.partition(" ")[0], verdict.loads) == ("onnxruntime", True)


def test_an_operator_that_onnxruntime_does_not_have(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx", described=False, domain="my.company")
    found = inspect_artefact(path)
    assert found.contents.operators == {"my.company::Relu": 1, "onnx::Conv": 1}
    assert found.contents.description is None
    (obstacle,) = found.verdicts["installed"].obstacles
    assert "my.company" in obstacle


@pytest.mark.parametrize("half", [False, True])
def test_openvino_is_described_and_loaded(tmp_path: Path, half: bool) -> None:
    path = write_xml(tmp_path / "model.xml", half)
    found = inspect_artefact(path)
    assert found.contents.format == "openvino"
    assert found.contents.operators["openvino::Convolution"] == 1
    assert found.contents.stored == {"float16" if half else "float32": 12}
    assert found.contents.description is not None
    assert found.contents.description.weights == ("half" if half else "fp32")
    assert found.num_bytes == path.stat().st_size + path.with_suffix(".bin").stat().st_size
    verdict = found.verdicts["installed"]
    assert (verdict.runtime.partition(" ")[0], verdict.loads) == ("openvino", True)
    path.with_suffix(".bin").unlink()
    assert not inspect_artefact(path).verdicts["installed"].loads


def test_command_prints_the_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write_onnx(tmp_path / "model.onnx"))
    assert cli.main(["inspect", path]) == 0
    printed = capsys.readouterr().out
    assert "ONNX, opset version 18" in printed
    assert "onnx: Conv, Relu" in printed
    assert cli.main(["inspect", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stored"] == {"float32": 12}
    assert cli.main(["inspect", path, "--config"]) == 0
    assert capsys.readouterr().out == thin_config().dump()
    assert cli.main(["inspect", path, "--runtime", "2.1.0"]) == 1
    error = capsys.readouterr().err
    assert "--runtime names a version of torch, but" in error
    assert "is run by onnxruntime" in error


def test_files_that_only_begin_like_one(tmp_path: Path) -> None:
    for content, sentence in (
        (b"\x08\x0aand no protobuf", "is not an ONNX file"),
        (b"<?xml version='1.0'?><net", "is not XML, or is truncated"),
        (b"<?xml version='1.0'?><page/>", "is not a graph of OpenVINO"),
    ):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(UnreadableFileError, match=sentence):
            inspect_artefact(tmp_path / "file")


def test_without_the_runtime_the_file_is_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_onnx(tmp_path / "model.onnx")
    monkeypatch.setattr("d2seg.inspect.graphs.importlib.util.find_spec", _only_onnx)
    verdict = inspect_artefact(path).verdicts["installed"]
    assert verdict.runtime == "onnxruntime"
    assert verdict.obstacles == [
        'It was refused: onnxruntime is not installed: pip install "d2seg[onnx]".'
    ]


def _only_onnx(name: str) -> object:
    return True if name == "onnx" else None

"""The description that a file carries."""

import json
import os
from pathlib import Path

import pytest
import torch
import yaml

from d2seg import __version__
from d2seg.export.deployable import DeployableRCNN
from d2seg.export.description import DESCRIPTION_NAME, ModelDescription, describe, read_description
from d2seg.export.torchscript import load_lite, save_torchscript
from tests.export.models import pictures, thin_config, thin_model


@pytest.fixture(scope="module")
def described_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "model.ptl"
    text = describe(thin_config(), "ptl", aten_only=True, input_order="RGB").to_json()
    save_torchscript(DeployableRCNN(thin_model()), path, {DESCRIPTION_NAME: text})
    return path


def test_round_trip_through_the_file(described_file: Path) -> None:
    written = describe(thin_config(), "ptl", aten_only=True, input_order="RGB")
    assert read_description(described_file) == written


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")
def test_torch_gives_the_same_text(described_file: Path) -> None:
    texts = {DESCRIPTION_NAME: ""}
    torch.jit.load(os.fspath(described_file), _extra_files=texts)
    assert ModelDescription.from_json(texts[DESCRIPTION_NAME]) == read_description(described_file)


def test_it_says_how_to_feed_the_file(described_file: Path) -> None:
    description = read_description(described_file)
    assert description.input_order == "RGB"
    assert description.value_range == [0.0, 255.0]
    assert (description.resize_short, description.resize_longest) == (96, 160)
    assert description.class_names == [f"class {index}" for index in range(5)]
    assert (description.score_threshold, description.max_detections) == (0.3, 40)
    assert description.operators == "aten"
    assert (description.d2seg_version, description.torch_version) == (
        __version__,
        torch.__version__,
    )
    assert yaml.safe_load(description.config)["MODEL"]["RESNETS"]["DEPTH"] == 18


def test_schema_of_the_outputs_is_true(described_file: Path) -> None:
    outputs = load_lite(described_file)(pictures()[0])
    schemas = read_description(described_file).outputs
    assert [schema.name for schema in schemas] == [
        "boxes",
        "classes",
        "masks",
        "scores",
        "image_size",
    ]
    for schema, output in zip(schemas, outputs, strict=True):
        expected = [len(outputs[0]) if size == "N" else size for size in schema.shape]
        assert list(output.shape) == expected
        assert str(output.dtype) == f"torch.{schema.dtype}"


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_description(tmp_path / "none.ptl")
    (tmp_path / "text.ptl").write_text("no archive")
    save_torchscript(DeployableRCNN(thin_model()), tmp_path / "bare.ptl", {})
    with pytest.raises(ValueError, match=r"text.ptl' is neither a .ptl nor a .pte"):
        read_description(tmp_path / "text.ptl")
    with pytest.raises(ValueError, match=r"bare.ptl' has no description.json: d2seg did not"):
        read_description(tmp_path / "bare.ptl")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("resize_short", 10**9),
        ("resize_longest", -1),
        ("resize_short", "800"),
        ("max_detections", True),
        ("class_names", "cell"),
        ("class_names", ["cell", 3]),
        ("score_threshold", None),
        ("value_range", [0.0, "x"]),
        ("inputs", [{"name": "a", "shape": [3, 10**9], "dtype": "float32", "meaning": ""}]),
        ("inputs", [{"name": "a", "shape": [3, [4]], "dtype": "float32", "meaning": ""}]),
        ("outputs", [3]),
    ],
)
def test_impossible_values_are_refused(described_file: Path, name: str, value: object) -> None:
    content = json.loads(read_description(described_file).to_json())
    assert ModelDescription.from_json(json.dumps(content)) == read_description(described_file)
    with pytest.raises(ValueError, match="is not a description that d2seg wrote"):
        ModelDescription.from_json(json.dumps({**content, name: value}))


def test_a_description_that_never_ends() -> None:
    with pytest.raises(ValueError, match="is not a description that d2seg wrote"):
        ModelDescription.from_json("[" * 100_000)

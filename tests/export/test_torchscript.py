"""What a file asks of the runtime that loads it."""

import warnings
from pathlib import Path

import pytest

from d2seg.export.deployable import DeployableRCNN
from d2seg.export.torchscript import inspect_file, load_lite, save_torchscript
from tests.conftest import ROOT
from tests.export.models import pictures, thin_config, thin_model

KNOWN = ROOT / "tests" / "data" / "torch_2.1.0_operators.txt"


@pytest.mark.parametrize("norm", ["FrozenBN", "GN"])
def test_aten_file_needs_only_what_the_last_android_runtime_has(norm: str, tmp_path: Path) -> None:
    cfg = thin_config(
        MODEL__RESNETS__NORM=norm,
        MODEL__RESNETS__STEM_OUT_CHANNELS=32,
        MODEL__RESNETS__RES2_OUT_CHANNELS=32,
        MODEL__FPN__FUSE_TYPE="avg",
    )
    module = DeployableRCNN(thin_model(cfg), aten_only=True, input_order="RGB")
    save_torchscript(module, tmp_path / "model.ptl", {})
    facts = inspect_file(tmp_path / "model.ptl")
    known = {line for line in KNOWN.read_text().splitlines() if not line.startswith("#")}
    assert len(facts.operators) > 60
    assert set(facts.operators) <= known
    assert facts.bytecode_version == 8


def test_torchvision_file_uses_its_operators(tmp_path: Path) -> None:
    module = DeployableRCNN(thin_model(), aten_only=False)
    save_torchscript(module, tmp_path / "model.ptl", {})
    operators = inspect_file(tmp_path / "model.ptl").operators
    used = {name for name in operators if name.startswith("torchvision::")}
    assert used == {"torchvision::nms", "torchvision::roi_align"}


def test_size_is_that_of_the_weights(tmp_path: Path) -> None:
    module = DeployableRCNN(thin_model())
    save_torchscript(module, tmp_path / "model.ptl", {})
    weights = sum(value.numel() * 4 for value in module.state_dict().values()) / 1e6
    assert weights < inspect_file(tmp_path / "model.ptl").megabytes < weights + 0.5


def test_nothing_is_said_about_deprecation(tmp_path: Path) -> None:
    module = DeployableRCNN(thin_model())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        save_torchscript(module, tmp_path / "model.ptl", {})
        load_lite(tmp_path / "model.ptl")(pictures()[0])
        inspect_file(tmp_path / "model.ptl")
    assert [str(warning.message) for warning in caught] == []

"""One thin model in every form that a predictor takes."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from d2seg.export import export_model
from d2seg.framework import CfgNode, DetectionCheckpointer
from tests.export.models import thin_config, thin_model


class Stored(NamedTuple):
    """The same model as a config with weights and as files."""

    cfg: CfgNode
    config_file: Path
    weights: Path
    ptl: Path
    ts: Path


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("stored")
    cfg = thin_config()
    model = thin_model(cfg)
    DetectionCheckpointer(model, str(folder)).save("weights")
    (folder / "config.yaml").write_text(cfg.dump())
    export_model(model, cfg, folder, input_order="RGB")
    ptl = folder / "mobile_optimized.ptl"
    shutil.copy(ptl, folder / "model.ts")  # torch.jit.load reads the same file
    cfg.MODEL.WEIGHTS = str(folder / "weights.pth")
    return Stored(cfg, folder / "config.yaml", folder / "weights.pth", ptl, folder / "model.ts")

"""The training loop in one file."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.conftest import ROOT
from tests.train.conftest import VALIDATION, WriteConfig, read_metrics

pytestmark = pytest.mark.filterwarnings("ignore:.*SwigPy:DeprecationWarning")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = spec_from_file_location("plain_train_net", ROOT / "tools" / "plain_train_net.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_trains_resumes_and_evaluates(
    tool: ModuleType, write_config: WriteConfig, tmp_path: Path
) -> None:
    config = str(write_config())
    run = tmp_path / "run"
    tool.main(["--config-file", config, "SOLVER.MAX_ITER", "4"])
    assert torch.load(run / "model_final.pth", weights_only=True)["iteration"] == 3
    tool.main(["--config-file", config, "--resume"])
    assert torch.load(run / "model_final.pth", weights_only=True)["iteration"] == 5
    assert sorted(read_metrics(run)) == [3, 5]
    results = run / "inference" / VALIDATION / "coco_instances_results.json"
    results.unlink()
    tool.main(["--config-file", config, "--resume", "--eval-only"])
    assert results.is_file()


def test_resuming_nothing_starts_at_the_first_iteration(
    tool: ModuleType, write_config: WriteConfig, tmp_path: Path
) -> None:
    config = str(write_config(DATASETS__TEST=[]))
    first, second = tmp_path / "run", tmp_path / "second"
    tool.main(["--config-file", config, "SOLVER.MAX_ITER", "2"])
    weights = str(first / "model_final.pth")
    opts = ["MODEL.WEIGHTS", weights, "OUTPUT_DIR", str(second), "SOLVER.MAX_ITER", "1"]
    opts += ["SOLVER.CHECKPOINT_PERIOD", "0"]  # at the end only
    tool.main(["--config-file", config, "--resume", *opts])
    assert torch.load(second / "model_final.pth", weights_only=True)["iteration"] == 0

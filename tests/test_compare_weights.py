"""The table of what storing weights with fewer bits costs."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from d2seg.export.deployable import DeployableRCNN
from d2seg.export.torchscript import save_torchscript
from tests.conftest import ROOT
from tests.export.models import thin_model


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = spec_from_file_location("compare_weights", ROOT / "tools" / "compare_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_has_differences_and_losses_are_stated(tool: ModuleType) -> None:
    rows = [
        tool.Row("fp32", 11.3, 96, {"bbox": 53.0, "segm": 55.0}, 0.5, 150.0),
        tool.Row("int8", 3.1, 97, {"bbox": 52.3, "segm": 54.6}, 0.6, None),
    ]
    lines = tool.table(rows).splitlines()
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == [
        *("int8", "3.1", "97", "52.30", "-0.70", "54.60", "-0.40", "0.60", "-")
    ]
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|") == 10
    assert tool.losses(rows) == ["int8 loses 0.70 of bbox AP."]


def test_memory_grows_with_the_image(tool: ModuleType, tmp_path: Path) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell how much memory a process had at most")
    save_torchscript(DeployableRCNN(thin_model()), tmp_path / "model.ptl", {})
    small = tool.peak_megabytes(tmp_path / "model.ptl", (64, 64))
    large = tool.peak_megabytes(tmp_path / "model.ptl", (512, 512))
    assert small > 3  # the weights alone
    assert large > small + 512 * 512 * 16 * 4 / 4e6  # what the stem gives, at half the size

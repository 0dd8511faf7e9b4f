"""Curves of a training."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = ROOT / "tools" / "plot_training.py"
    spec = spec_from_file_location("plot_training", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path: Path, *values: float) -> Path:
    lines = [{"iteration": 20 * i, "total_loss": value, "lr": 1} for i, value in enumerate(values)]
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_runs_are_drawn_over_each_other(tool: ModuleType, tmp_path: Path) -> None:
    files = [str(write(tmp_path / name / "metrics.json", 4.0, 2.0, 1.0)) for name in ("a", "b&c")]
    output = tmp_path / "curves.svg"
    tool.main([*files, "--output", str(output)])
    root = ElementTree.parse(output).getroot()
    texts = ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("text")]
    assert texts[-2:] == ["a: total_loss", "b&c: total_loss"]
    assert {"0", "40", "4"} <= set(texts)  # the ends of the axes


def test_iterations_are_whole_numbers(tool: ModuleType) -> None:
    root = ElementTree.fromstring(tool.draw([("loss", [(0.0, 3.0), (2.0, 1.0)])]))
    ticks = [node for node in root.iter() if node.get("text-anchor") == "middle"]
    texts = ["".join(node.itertext()) for node in ticks]
    assert [text for text in texts if text[0].isdigit()] == ["0", "1", "2", "3", "4", "5"]


def test_a_metric_that_is_not_there(tool: ModuleType, tmp_path: Path) -> None:
    path = write(tmp_path / "run" / "metrics.json", 1.0)
    with pytest.raises(ValueError, match="has no metric 'AP'; it has lr, total_loss"):
        tool.read_metric(path, "AP")
    assert tool.read_metric(path, "total_loss") == [(0, 1.0)]

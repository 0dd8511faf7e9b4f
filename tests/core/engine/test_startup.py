"""Arguments, output folder, seed, and several processes."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from d2seg.core.config import LazyConfig, get_cfg
from d2seg.core.engine import default_argument_parser, default_setup, default_writers
from d2seg.core.runtime.events import EventStorage
from d2seg.core.runtime.seed import seed_all_rng
from d2seg.core.runtime.writers import CommonMetricPrinter, JSONWriter


def test_arguments_are_those_of_detectron2() -> None:
    parsed = default_argument_parser().parse_args(
        ["--config-file", "a.yaml", "--num-gpus", "2", "--resume", "SOLVER.BASE_LR", "0.1"]
    )
    assert parsed.config_file == "a.yaml"
    assert (parsed.num_gpus, parsed.num_machines, parsed.machine_rank) == (2, 1, 0)
    assert parsed.resume
    assert not parsed.eval_only
    assert parsed.opts == ["SOLVER.BASE_LR", "0.1"]
    assert parsed.dist_url.startswith("tcp://127.0.0.1:")


def test_the_config_and_the_log_are_kept_and_the_seed_set(tmp_path: Path) -> None:
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(tmp_path / "run")
    cfg.SEED = 7
    cfg.FLOAT32_PRECISION = "high"
    default_setup(cfg, argparse.Namespace(config_file="", eval_only=False))
    first = torch.rand(1).item(), np.random.rand()
    default_setup(cfg, {})
    assert (torch.rand(1).item(), np.random.rand()) == first
    assert torch.get_float32_matmul_precision() == "high"
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert kept == yaml.safe_load(cfg.dump())
    assert kept["SEED"] == 7
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "The full config is in" in log
    rows = dict(line.split(maxsplit=1) for line in log.splitlines() if len(line.split()) > 1)
    assert rows["torch"] == torch.__version__
    assert rows["numpy"] == np.__version__


def test_a_config_written_in_python_is_understood_too(tmp_path: Path) -> None:
    pytest.importorskip("omegaconf", reason="configs written in Python need it")
    cfg = LazyConfig.load(_lazy_config(tmp_path))
    default_setup(cfg, {})
    first = torch.rand(1).item()
    default_setup(cfg, {})
    assert torch.rand(1).item() == first
    kept = yaml.safe_load((tmp_path / "lazy" / "config.yaml").read_text())
    assert kept["train"]["seed"] == 7


def _lazy_config(folder: Path) -> str:
    path = folder / "config.py"
    path.write_text(f"train = dict(output_dir={str(folder / 'lazy')!r}, seed=7)\n")
    return str(path)


def test_without_a_seed_two_runs_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    seed_all_rng(None)
    first = torch.rand(1).item()
    seed_all_rng(None)
    assert torch.rand(1).item() != first


def test_writers_for_people_and_machines(tmp_path: Path) -> None:
    writers = default_writers(str(tmp_path / "new"), 10)
    assert isinstance(writers[0], CommonMetricPrinter)
    assert isinstance(writers[1], JSONWriter)
    with EventStorage(3) as storage:
        storage.put_scalar("loss", 2.0)
        for writer in writers:
            writer.write()
            writer.close()
    assert (tmp_path / "new" / "metrics.json").read_text() == '{"iteration": 3, "loss": 2.0}\n'

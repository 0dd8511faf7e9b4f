"""Several processes train together, started by the command and by torchrun."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.train.conftest import WriteConfig, read_metrics

ROOT = Path(__file__).parents[2]
TRAIN_NET = str(ROOT / "tools" / "train_net.py")
pytestmark = pytest.mark.slow

# Losses that are means over images: sampling and padding differ between an image alone and in a
# batch, so there is neither.
MEAN_OVER_IMAGES = {
    "MODEL__META_ARCHITECTURE": "ProposalNetwork",
    "MODEL__MASK_ON": False,
    "MODEL__RESNETS__NORM": "FrozenBN",
    "MODEL__FPN__NORM": "",
    "MODEL__RPN__BATCH_SIZE_PER_IMAGE": 100_000,
    "INPUT__MIN_SIZE_TRAIN": [64],
    "DATASETS__TEST": [],
}


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_processes_have_the_losses_of_one(write_config: WriteConfig, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    commands = {
        "one": [sys.executable, TRAIN_NET],
        "two": [sys.executable, TRAIN_NET, "--num-gpus", "2"],
        "torchrun": [*torchrun, "--master-port", str(free_port()), TRAIN_NET],
    }
    metrics, weights = {}, {}
    for name, command in commands.items():
        folder = tmp_path / name
        config = write_config(OUTPUT_DIR=str(folder), **MEAN_OVER_IMAGES)
        done = run(*command, "--config-file", str(config))
        assert done.returncode == 0, done.stderr
        last = read_metrics(folder)[5]
        metrics[name] = {key: last[key] for key in ("total_loss", "loss_rpn_cls", "loss_rpn_loc")}
        weights[name] = torch.load(folder / "model_final.pth", weights_only=True)["model"]
    for name in ("two", "torchrun"):
        assert metrics[name] == pytest.approx(metrics["one"], rel=1e-5)
        for key, value in weights["one"].items():
            torch.testing.assert_close(weights[name][key], value, atol=1e-6, rtol=1e-4, msg=key)


def test_two_processes_evaluate_what_one_does(write_config: WriteConfig, tmp_path: Path) -> None:
    results = {}
    for name, processes in (("one", 1), ("two", 2)):
        config = write_config(OUTPUT_DIR=str(tmp_path / name))
        command = [sys.executable, TRAIN_NET, "--config-file", str(config), "--eval-only"]
        weights = ["MODEL.WEIGHTS", "d2seg://nuclei.safetensors"]
        done = run(*command, "--num-gpus", str(processes), *weights)
        assert done.returncode == 0, done.stderr
        path = tmp_path / name / "inference" / "results.json"
        results[name] = json.loads(path.read_text())
    assert results["two"] == results["one"]
    assert results["one"]["segm"]["AP"] > 10


def test_bad_input_is_one_line_in_several_processes_too(write_config: WriteConfig) -> None:
    config = write_config(DATASETS__TRAIN=["nuclei_trian"])
    done = run(sys.executable, TRAIN_NET, "--config-file", str(config), "--num-gpus", "2")
    assert done.returncode == 1
    assert "There is no data set 'nuclei_trian'" in done.stderr.splitlines()[-1]
    config = write_config(SOLVER__IMS_PER_BATCH=3)
    done = run(sys.executable, TRAIN_NET, "--config-file", str(config), "--num-gpus", "2")
    assert done.returncode == 1
    assert "SOLVER.IMS_PER_BATCH is 3, but must be a positive mult" in done.stderr.splitlines()[-1]

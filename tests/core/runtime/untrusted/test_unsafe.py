"""Files that run code only where the user says so, and say that they do."""

import logging
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from d2seg.cli import main
from d2seg.core.checkpoint.files import read_checkpoint
from d2seg.core.runtime.untrusted.unsafe import VARIABLE, is_unsafe_allowed, unsafe_files


class Touch:
    """Unpickling an instance makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.fixture(params=[".pth", ".pkl"])
def evil(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / f"evil{request.param}"
    value = {"model": {"a": np.ones(2)}, "__author__": "me", "more": Touch(tmp_path / "made")}
    if request.param == ".pth":
        torch.save({**value, "model": {"a": torch.ones(2)}}, path)
    else:
        path.write_bytes(pickle.dumps(value))
    return path


def test_code_runs_in_the_block_only_and_loudly(
    evil: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(
        ValueError, match=r"refers to '\w+\.mkdir', and only .* \(--unsafe would run"
    ):
        read_checkpoint(str(evil))
    assert not (evil.parent / "made").exists()
    with unsafe_files(), caplog.at_level(logging.WARNING):
        assert read_checkpoint(str(evil))["model"]["a"].tolist() == [1, 1]
    assert (evil.parent / "made").exists()
    assert f"UNSAFE: the file '{evil}' asks for '" in caplog.text
    assert "mkdir' and runs whatever else it contains now, with all your rights" in caplog.text
    with pytest.raises(ValueError, match="mkdir"):
        read_checkpoint(str(evil))


@pytest.mark.parametrize("name", ["photo.png", "photo.pth", "photo.pkl"])
@pytest.mark.parametrize("allowed", ["0", "1"])
def test_an_image_is_no_checkpoint_and_asks_for_nothing(
    name: str, allowed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, allowed)
    path = tmp_path / name
    Image.new("RGB", (7, 5)).save(path, format="PNG")
    with pytest.raises(ValueError, match=r"it is truncated, or of another kind\.$"):
        read_checkpoint(str(path))


@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_what_fails_while_it_runs_is_told_in_a_sentence(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_bytes(b"cnosuchmodule\nthing\n.")
    with (
        unsafe_files(),
        pytest.raises(ValueError, match=r"not even with --unsafe: .*No module named 'nosuchmod"),
    ):
        read_checkpoint(str(path))


def test_data_is_read_as_data_in_the_block_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": np.ones(2)}))
    with unsafe_files():
        read_checkpoint(str(tmp_path / "a.pkl"))
    assert not caplog.records


@pytest.mark.parametrize("value", ["", "0", None])
def test_it_is_off_by_default(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    assert not is_unsafe_allowed()
    with unsafe_files():
        assert is_unsafe_allowed()
    assert os.environ.get(VARIABLE) == value


def test_the_command_line_says_that_it_is_on(
    evil: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--config-file", "d2seg://nuclei.yaml", "--eval-only"]
    arguments += ["MODEL.WEIGHTS", str(evil), "OUTPUT_DIR", str(evil.parent / "out")]
    arguments += ["DATASETS.TEST", "()"]
    assert main([*arguments[:3], "--unsafe", *arguments[3:]]) == 1  # it has no data set
    assert "--unsafe: files of weights may run any code they contain, as you" in (
        capsys.readouterr().err
    )
    assert not is_unsafe_allowed()
    assert main(arguments) == 1
    assert "--unsafe" not in capsys.readouterr().err

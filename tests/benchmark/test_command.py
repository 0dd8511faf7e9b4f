import json
from pathlib import Path

import pytest
import torch

from d2seg import cli
from d2seg.assets import DEMO_IMAGES

QUICK = ("--rounds", "1", "--warmup", "0")
SMALL = ("INPUT.MIN_SIZE_TEST", "64")


def test_the_command_measures_the_shipped_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "speed.json"
    assert cli.main(["benchmark", *QUICK, "--batch-size", "4", "--json", str(path), *SMALL]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("6 image(s) of 64x64, batches of 4, ")
    assert f", {torch.get_num_threads()} thread(s) on " in printed
    assert " everything " in printed
    document = json.loads(path.read_text())
    assert document["task"] == "features"
    assert document["config_file"] == "d2seg://nuclei.yaml"
    assert document["overrides"] == list(SMALL)
    assert document["weights"] == "d2seg://nuclei.safetensors"
    assert document["results"][0]["name"] == document["baseline"] == "whole model"
    assert all(item["seconds"][0] > 0 for item in document["results"])


def test_random_weights_and_threads_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    options = ["--stages", "backbone", "--input", str(DEMO_IMAGES / "*1.png"), "--threads", "2"]
    assert cli.main(["benchmark", *QUICK, *options, "MODEL.WEIGHTS", "", *SMALL]) == 0
    assert torch.get_num_threads() == threads
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("MODEL.WEIGHTS is empty: random weights")
    rows = [line for line in others if line.startswith((" whole model", " backbone"))]
    assert len(rows) == 2
    assert any(", 2 thread(s) on " in line for line in others)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--stages", "bakbone"], "Unknown stage 'bakbone'. Did you mean backbone"),
        (["--input", "nowhere"], "No file or folder 'nowhere'."),
        (["--batch-size", "0"], "The batch size must be at least 1, got 0."),
        (["--rounds", "0"], "At least 1 round must be timed, got 0."),
        (["--seconds", "-1"], "The time for the rounds must be above 0 s, got -1."),
        (["--threads", "0"], "The number of threads must be at least 1, got 0."),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    path = tmp_path / "speed.json"
    assert cli.main(["benchmark", *arguments, "--json", str(path), *SMALL]) == 1
    assert capsys.readouterr().err.startswith(f"d2seg: error: {complaint}")
    assert not path.exists()


@pytest.mark.parametrize(
    ("task", "arguments", "complaint"),
    [
        ("stages", ["--plot", "a.svg"], "--plot does not count for the task stages"),
        ("growth", ["--batch-size", "2"], "--batch-size does not count for the task growth"),
        ("paste", ["--input", "a.png"], "--input does not count for the task paste"),
        ("paste", ["--config-file", "a"], "--config-file does not count for the task paste"),
        ("paste", list(SMALL), "Overrides of the config do not count for the task paste"),
        ("features", ["--also", "a.ptl"], "--also does not count for the task features, only for"),
        ("predict", ["--sides", "0.1", "0.2"], "--sides does not count for the task predict"),
        ("train", ["--images", "9"], "--images does not count for the task train, only for data"),
        ("predict", ["--objects", "0"], "The number of objects must be at least 1, got 0."),
        ("train", ["--objects", "0", *SMALL], "The number of objects must be at least 1, got 0."),
        ("stages", ["--rounds", "0"], "At least 1 round must be timed, got 0."),
        ("growth", ["--warmup", "-1"], "The number of warm-up rounds must be 0 or more, got -1."),
        ("stages", ["--seconds", "0"], "The time for the rounds must be above 0 s, got 0."),
    ],
)
def test_no_option_is_ignored(
    capsys: pytest.CaptureFixture[str], task: str, arguments: list[str], complaint: str
) -> None:
    assert cli.main(["benchmark", "--task", task, *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"d2seg: error: {complaint}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--task", "sleep"], "invalid choice: 'sleep' (choose from"),
        (["--rounds", "3", "--seconds", "9"], "not allowed with argument"),
    ],
)
def test_wrong_usage_is_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["benchmark", *arguments])
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_where_nothing_can_be_written_nothing_is_measured(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert cli.main(["benchmark", "--task", "paste", option, str(tmp_path / "file" / "out")]) == 1
    assert cli.main(["benchmark", "--task", "paste", option, str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 2
    assert "is a folder; name a file" in printed.err

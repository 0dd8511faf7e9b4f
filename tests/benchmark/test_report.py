import json
from pathlib import Path

import pytest

from d2seg.benchmark import (
    Spread,
    compare,
    comparisons_as_json,
    print_alone,
    print_growth,
    print_report,
    save_report,
)
from d2seg.benchmark.alone import GPU, PROCESS, Alone
from d2seg.benchmark.growth import Point

TIMES = {"whole model": [0.5, 0.25, 1.0], "[odd]": [0.002, 0.001, 0.004]}


def test_json_has_everything(tmp_path: Path) -> None:
    path = tmp_path / "new" / "speed.json"
    comparisons = compare(TIMES, "whole model", 2)
    save_report(path, {"task": "features", **comparisons_as_json(comparisons)})
    document = json.loads(path.read_text())
    assert document["task"] == "features"
    assert document["baseline"] == "whole model"
    assert [item["name"] for item in document["results"]] == list(TIMES)
    assert [item["seconds"] for item in document["results"]] == list(TIMES.values())
    assert document["results"][0]["images_per_second"] == {"median": 4, "lower": 3, "upper": 6}
    assert document["results"][1]["speedup"]["median"] == 250


def test_a_report_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    path.write_text("earlier")
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_report(path, {"task": object()})
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_the_table_has_a_row_for_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    print_report(compare(TIMES, "whole model", 2))
    lines = capsys.readouterr().out.splitlines()
    whole = next(line for line in lines if line.startswith(" whole model"))
    odd = next(line for line in lines if line.startswith(" [odd]"))
    assert "250 [188, 375]" in whole
    assert "4.00 [3.00, 6.00]" in whole
    assert "1.00 [1.00, 1.00]" in whole
    assert "1.00 [0.75, 1.50]" in odd
    assert "1000 [750, 1500]" in odd
    assert "250 [250, 250]" in odd


def test_memory_of_a_gpu_is_a_table_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    print_alone({"core": Alone(1, 200, 40, GPU), "core.onnx": Alone(2, 300, 100, PROCESS)})
    printed = capsys.readouterr().out
    on_gpu, in_process = printed.split("Each in a process of its own")[:2]
    assert "loaded, MiB of the GPU" in on_gpu
    assert "working, MiB of the GPU" in on_gpu
    assert "core.onnx" not in on_gpu
    assert "loaded, MiB of the process" in in_process
    assert "working / core.onnx" in in_process


def test_time_over_amount_is_printed_of_what_is_judged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    kinds = ("objects", "images in a batch", "threads")
    print_growth([Point(kind, n, Spread(n, n, n)) for kind in kinds for n in (1, 2)])
    table = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    last = [(cells[0].strip(), cells[-1].strip()) for cells in table]
    assert last[:2] == [("objects", "1.00")] * 2
    assert last[2:] == [("images in a batch", "")] * 2 + [("threads", "")] * 2

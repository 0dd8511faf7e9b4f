import json
from pathlib import Path

import pytest

from d2seg.benchmark import compare, print_report, save_report

TIMES = {"whole model": [0.5, 0.25, 1.0], "[odd]": [0.002, 0.001, 0.004]}


def test_json_has_everything(tmp_path: Path) -> None:
    path = tmp_path / "new" / "speed.json"
    save_report(path, compare(TIMES, "whole model", 2), {"task": "features"})
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
        save_report(path, compare(TIMES, "whole model", 2), {"task": object()})
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

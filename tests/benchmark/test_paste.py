import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from d2seg import cli
from d2seg.benchmark import Rounds, paste
from d2seg.benchmark.paste import benchmark_paste

ONCE = Rounds(1, warmup=0)


def test_all_paste_the_same_objects() -> None:
    masks, boxes = paste._make_objects(6, (120, 200), (0.3, 0.9))
    assert bool((boxes >= 0).all())
    assert bool((boxes <= torch.tensor([200, 120, 200, 120])).all())
    expected = paste._paste_one_by_one(masks, boxes, (120, 200))
    areas = expected.flatten(1).sum(dim=1)
    sides = boxes[:, 2:] - boxes[:, :2]
    assert bool((areas > 0.6 * sides.prod(dim=1)).all())
    nearly = paste._paste_by_torchvision(masks, boxes, (120, 200))
    assert float((nearly != expected).sum() / areas.sum()) < 0.05  # it rounds boxes
    found = benchmark_paste(6, (120, 200), (0.3, 0.9), ONCE)
    assert [one.name for one in found.comparisons] == ["one by one", "torchvision", "core"]
    assert found.differing["one by one"] == found.differing["core"] == 0


def test_other_pixels_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        paste, "paste_masks", lambda m, b, hw, t: torch.zeros(len(m), *hw, dtype=torch.bool)
    )
    with pytest.raises(RuntimeError, match="pixels differ from those that come out one by one"):
        benchmark_paste(2, (60, 80), (0.3, 0.9), ONCE)


def test_few_pixels_may_differ_and_they_are_counted_against_the_masks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = paste.paste_masks
    wrong = 1

    def paste_wrongly(*arguments: Any) -> torch.Tensor:
        pasted = right(*arguments)
        pasted.view(-1)[:wrong] ^= True
        return pasted

    monkeypatch.setattr(paste, "paste_masks", paste_wrongly)
    monkeypatch.setattr(paste, "_ROUNDED", 1e-3)
    # 2 masks of about 3 x 4 pixels in 57,600 pixels: one wrong pixel is much.
    with pytest.raises(RuntimeError, match="1 pixels differ"):
        benchmark_paste(2, (120, 240), (0.02, 0.03), ONCE)
    assert benchmark_paste(2, (120, 240), (0.3, 0.9), ONCE).differing["core"] == 1


@pytest.mark.parametrize(
    ("objects", "size_hw", "sides", "complaint"),
    [
        (0, (60, 80), (0.3, 0.9), "number of objects must be at least 1, got 0"),
        (1, (60, 0), (0.3, 0.9), "must be positive, got 60x0"),
        (1, (60, 80), (0.9, 0.3), "the lower first; got 0.9 and 0.3"),
    ],
)
def test_wrong_arguments_are_named(
    objects: int, size_hw: tuple[int, int], sides: tuple[float, float], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        benchmark_paste(objects, size_hw, sides, ONCE)


def test_the_command_prints_draws_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, plot = tmp_path / "paste.json", tmp_path / "paste.svg"
    options = ["--size", "60", "80", "--objects", "3", "--sides", "0.2", "0.5", "--rounds", "2"]
    arguments = ["benchmark", "--task", "paste", *options, "--json", str(path)]
    assert cli.main([*arguments, "--plot", str(plot)]) == 0
    printed = capsys.readouterr().out
    assert "3 mask(s) in an image of 60x80, sides 0.2 to 0.5" in printed
    assert "differing pixels: one by one 0" in printed
    document = json.loads(path.read_text())
    assert document["work"] == {"objects": 3, "size_hw": [60, 80], "sides": [0.2, 0.5]}
    assert [len(one["seconds"]) for one in document["results"]] == [2, 2, 2]
    bars = ElementTree.parse(plot).getroot().findall(".//{*}rect/{*}title")
    assert [bar.text.split(":")[0] for bar in bars] == ["one by one", "torchvision", "core"]

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from d2seg import cli
from d2seg.assets import DEMO_CONFIG_FILE, DEMO_IMAGES
from d2seg.benchmark import Rounds, Spread
from d2seg.benchmark.growth import Point, at_most_linear, benchmark_growth
from d2seg.benchmark.stages import STAGES, benchmark_stages
from d2seg.benchmark.subject import Subject, make_subject, read_images
from d2seg.config import load_config
from d2seg.images import find_images
from tests.export.models import thin_config

ONCE = Rounds(1, warmup=0)


def make(folder: Path, **overrides: object) -> Subject:
    cfg = thin_config(MODEL__WEIGHTS="", **overrides)
    images = read_images(find_images([DEMO_IMAGES])[:1], (96, 150))
    masks = overrides.get("MODEL__MASK_ON", True)
    return make_subject(cfg, images, folder, objects=7 if masks else None)


def test_stages_add_up(tmp_path: Path) -> None:
    told: list[int] = []
    found = benchmark_stages(make(tmp_path), Rounds(2, warmup=0), told.append)
    assert told == [1, 2]
    assert tuple(one.name for one in found.stages) == STAGES
    assert sum(one.share for one in found.stages) == pytest.approx(1)
    counted = {one.name for one in found.stages if one.gflop > 0}
    assert counted == {"backbone", "proposals", "box", "mask"}
    backbone = found.stages[1]
    rate = backbone.gflop / backbone.seconds.median / found.gflops_per_second.median
    assert backbone.rate_share == pytest.approx(rate)


def test_stages_need_masks(tmp_path: Path) -> None:
    subject = make(tmp_path, MODEL__META_ARCHITECTURE="ProposalNetwork", MODEL__MASK_ON=False)
    with pytest.raises(ValueError, match="StandardROIHeads and masks, but this is another Propos"):
        benchmark_stages(subject, ONCE)


def test_growth_asks_for_what_it_says(tmp_path: Path) -> None:
    points = benchmark_growth(make(tmp_path), ONCE, objects=(3, 9), sides=(0.5, 1.0))
    amounts: dict[str, list[float]] = {}
    for point in points:
        amounts.setdefault(point.what, []).append(point.amount)
        assert point.seconds.median > 0
    assert amounts["megapixels"] == pytest.approx([48 * 75 / 1e6, 96 * 150 / 1e6])
    assert amounts["objects"] == [3, 9]
    assert amounts["proposals"] == [100, 300, 1000]
    assert amounts["images in a batch"] == [1, 2, 4]
    assert amounts["threads"][0] == 1


def test_growth_is_judged_by_time_over_amount() -> None:
    def line(what: str, times: list[float]) -> list[Point]:
        amounts = (10, 100, 1000)[: len(times)]
        return [Point(what, n, Spread(t, t, t)) for n, t in zip(amounts, times, strict=True)]

    points = [*line("objects", [1, 9, 99]), *line("proposals", [1, 12, 90]), *line("threads", [1])]
    assert at_most_linear(points) == {"objects": True, "proposals": False}


@pytest.mark.parametrize("task", ["stages", "growth"])
def test_the_command_prints_draws_and_writes(
    task: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("d2seg.benchmark.growth.OBJECTS", (3, 9))
    path, plot = tmp_path / "speed.json", tmp_path / "growth.svg"
    options = ["--rounds", "1", "--warmup", "0", "--json", str(path), "--plot", str(plot)]
    arguments = ["benchmark", "--task", task, *options, "--config-file", str(DEMO_CONFIG_FILE)]
    assert cli.main([*arguments, "--objects", "5", "INPUT.MIN_SIZE_TEST", "128"]) == 0
    printed = capsys.readouterr().out
    document = json.loads(path.read_text())
    assert document["task"] == task
    if task == "stages":
        assert "of the matrix rate" in printed
        assert [one["name"] for one in document["stages"]] == list(STAGES)
    else:
        assert "time / amount" in printed
        assert "objects: time grows" in printed
        assert document["at_most_linear"].keys() == {"megapixels", "proposals", "objects"}
        assert len(ElementTree.parse(plot).getroot().findall("{*}svg")) == 5
        assert {one["what"] for one in document["points"]} >= {"objects", "megapixels"}


def test_the_default_asks_for_more_objects_than_a_thin_image_has(tmp_path: Path) -> None:
    cfg = load_config(DEMO_CONFIG_FILE)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 1
    with pytest.raises(ValueError, match="not 100000; ask for fewer"):
        benchmark_growth(make(tmp_path), ONCE, objects=(100000,), sides=(1.0,))

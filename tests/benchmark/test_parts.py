import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from d2seg import cli
from d2seg.assets import DEMO_CONFIG_FILE, DEMO_IMAGES
from d2seg.benchmark import Rounds, Spread, stages
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


def test_parts_run_in_the_precision_of_the_config(tmp_path: Path) -> None:
    kinds: set[torch.dtype] = set()

    def note(module: nn.Module, _: object, output: object) -> None:
        is_counted = torch.jit.is_tracing()  # operations are, whatever their precision
        if isinstance(module, nn.Linear) and isinstance(output, torch.Tensor) and not is_counted:
            kinds.add(output.dtype)

    with register_module_forward_hook(note):
        subject = make(tmp_path, MODEL__INFERENCE__PRECISION="bfloat16")
        benchmark_stages(subject, ONCE)
    assert kinds == {torch.bfloat16}


@pytest.mark.parametrize(
    ("rounds", "complaint"),
    [(Rounds(0), "At least 1 round"), (Rounds(1, warmup=-1), "warm-up rounds must be 0 or more")],
)
def test_no_rounds_are_refused(rounds: Rounds, complaint: str, tmp_path: Path) -> None:
    subject = make(tmp_path)
    with pytest.raises(ValueError, match=complaint):
        benchmark_stages(subject, rounds)
    with pytest.raises(ValueError, match=complaint):
        benchmark_growth(subject, rounds)


def test_the_fastest_product_of_a_round_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter([0.0, 9.0, 12.0, 13.0, 15.0, 17.0, 19.0])  # the first, of 9 s, does not count
    monkeypatch.setattr(stages, "_SIDE", 100)
    monkeypatch.setattr(stages.time, "perf_counter", lambda: next(ends))
    rate = stages._matrix_rate(torch.device("cpu"), lambda: None)
    assert rate == pytest.approx(2e-9 * 100**3)


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


def judge(what: str, amounts: Sequence[float], times: Sequence[float]) -> bool:
    """Judge times whose quartiles are 2% away."""
    spreads = [Spread(time, 0.98 * time, 1.02 * time) for time in times]
    points = [Point(what, *one) for one in zip(amounts, spreads, strict=True)]
    return at_most_linear(points)[what]


@pytest.mark.parametrize(
    ("times", "linear"),
    [
        ((1271, 1514, 4390), True),
        ((27.9, 25.3, 40.5), True),  # a GPU that waits for the host
        ((1000, 1090, 1990), True),  # a straight line
        ((1000, 1030, 4000), False),  # a square, 1000 + 0.003 n^2
        ((1000, 1010, 2000), False),
        ((10, 10, 200), False),  # more than in proportion, after nothing
    ],
)
def test_objects_are_judged_by_what_another_one_costs(
    times: tuple[float, ...], linear: bool
) -> None:
    assert judge("objects", (10, 100, 1000), times) is linear


def test_areas_and_proposals_are_judged_likewise() -> None:
    sides = (0.2664, 0.6, 1.066, 1.666)
    assert judge("megapixels", sides, (624, 1021, 1508, 2138))
    assert not judge("megapixels", sides, [500 + 600 * area**2 for area in sides])
    assert judge("proposals", (100, 300, 1000), (1245, 1328, 1521))
    assert not judge("proposals", (100, 300, 1000), (1020, 1180, 3000))


def test_what_is_not_judged_has_no_verdict() -> None:
    one = Spread(1, 1, 1)
    points = [Point("threads", 1, one), Point("threads", 2, one), Point("objects", 1, one)]
    assert at_most_linear(points) == {}


@pytest.mark.parametrize("task", ["stages", "growth"])
def test_the_command_prints_draws_and_writes(
    task: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("d2seg.benchmark.growth.OBJECTS", (3, 9))
    path, plot = tmp_path / "speed.json", tmp_path / "growth.svg"
    options = ["--rounds", "2", "--warmup", "0", "--json", str(path)]
    options += ["--plot", str(plot)] if task == "growth" else []
    arguments = ["benchmark", "--task", task, *options, "--config-file", str(DEMO_CONFIG_FILE)]
    assert cli.main([*arguments, "--objects", "5", "INPUT.MIN_SIZE_TEST", "128"]) == 0
    printed = capsys.readouterr().out
    document = json.loads(path.read_text())
    assert document["task"] == task
    if task == "stages":
        assert "of the matrix rate" in printed
        assert [one["name"] for one in document["stages"]] == list(STAGES)
        assert all(len(one["round_seconds"]) == 2 for one in document["stages"])
        assert len(document["round_rates"]) == 2
    else:
        assert "time / amount" in printed
        assert "objects: time grows" in printed
        assert document["at_most_linear"].keys() == {"megapixels", "proposals", "objects"}
        assert len(ElementTree.parse(plot).getroot().findall("{*}svg")) == 5
        assert {one["what"] for one in document["points"]} >= {"objects", "megapixels"}
        assert all(len(one["round_seconds"]) == 2 for one in document["points"])


def test_the_default_asks_for_more_objects_than_a_thin_image_has(tmp_path: Path) -> None:
    cfg = load_config(DEMO_CONFIG_FILE)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 1
    with pytest.raises(ValueError, match="not 100000; ask for fewer"):
        benchmark_growth(make(tmp_path), ONCE, objects=(100000,), sides=(1.0,))

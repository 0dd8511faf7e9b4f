from pathlib import Path

import pytest
import torch

from d2seg.assets import BENCHMARK_CONFIG_FILE, DEMO_IMAGES
from d2seg.benchmark import Rounds
from d2seg.benchmark.contestants import open_entry
from d2seg.benchmark.predict import benchmark_predict
from d2seg.benchmark.subject import Subject, make_subject, read_images
from d2seg.benchmark.train import list_steps
from d2seg.config import load_config
from d2seg.images import find_images
from tests.export.models import thin_config


def subject_of(cfg: object, folder: Path) -> Subject:
    images = read_images(find_images([DEMO_IMAGES])[:1], (96, 150))
    return make_subject(cfg, images, folder)


def test_a_step_is_timed_in_both_precisions(tmp_path: Path) -> None:
    subject = subject_of(thin_config(MODEL__WEIGHTS=""), tmp_path)
    entries, left_out = list_steps(subject, objects=5)
    assert [one.name for one in entries] == ["core", "core, bfloat16"]
    reasons = dict(left_out)
    assert "cannot express MODEL.RESNETS.STEM_OUT_CHANNELS 16" in reasons["torchvision"]
    assert reasons["detectron2"] == "it is not installed"
    found = benchmark_predict(subject, entries, Rounds(1, warmup=0))
    assert found.objects == {"core": 5, "core, bfloat16": 5}


@pytest.mark.slow
def test_torchvision_trains_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = ["INPUT.MIN_SIZE_TEST", "96", "INPUT.MAX_SIZE_TEST", "150"]
    # Every anchor, so that nothing is drawn at random and both have the loss of the same ones.
    every = ["MODEL.RPN.BATCH_SIZE_PER_IMAGE", "100000", "MODEL.RPN.POSITIVE_FRACTION", "1.0"]
    subject = subject_of(load_config(BENCHMARK_CONFIG_FILE, [*sizes, *every]), tmp_path)
    entries, left_out = list_steps(subject, objects=5)
    assert "torchvision" not in dict(left_out)
    totals: dict[str, float] = {}
    step = torch.optim.SGD.step

    def record(optimizer: torch.optim.SGD, *arguments: object) -> object:
        gradients = [p.grad.norm() for g in optimizer.param_groups for p in g["params"]]
        totals[entry.name] = float(torch.stack(gradients).norm())
        return step(optimizer, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", record)
    for entry in entries:
        assert open_entry(entry)(subject.images[0]) == 5
    assert totals["core"] == pytest.approx(totals["torchvision"], rel=0.1)
    assert totals["core, bfloat16"] == pytest.approx(totals["core"], rel=0.1)


def test_where_detectron2_is_installed_the_way_to_time_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d2seg.benchmark.train.has_detectron2", lambda: True)
    _, left_out = list_steps(subject_of(thin_config(MODEL__WEIGHTS=""), tmp_path), objects=5)
    assert "set D2SEG_FRAMEWORK=detectron2" in dict(left_out)["detectron2"]


def test_bad_input(tmp_path: Path) -> None:
    cfg = thin_config(MODEL__WEIGHTS="", MODEL__MASK_ON=False)
    with pytest.raises(ValueError, match="needs MODEL.MASK_ON True and MODEL.KEYPOINT_ON False"):
        list_steps(subject_of(cfg, tmp_path), objects=5)
    subject = subject_of(thin_config(MODEL__WEIGHTS=""), tmp_path)
    with pytest.raises(ValueError, match="number of objects must be at least 1, got 0"):
        list_steps(subject, objects=0)

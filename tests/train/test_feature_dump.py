"""Features written while a model learns."""

from pathlib import Path

import pytest
import torch

from d2seg.features import load
from d2seg.train import run_training
from d2seg.train.run import TrainingJob
from tests.train.conftest import DATA, WriteConfig, read_metrics

pytestmark = pytest.mark.filterwarnings("ignore:.*SwigPy:DeprecationWarning")
STAGES = ["backbone.p3", "box_head"]


def watched(tmp_path: Path) -> list[str]:
    """Two images whose file names have the same stem."""
    paths = sorted((DATA / "images").iterdir())[:2]
    copies = [tmp_path / "one" / "cell.png", tmp_path / "two" / "cell.png"]
    for path, copy in zip(paths, copies, strict=True):
        copy.parent.mkdir()
        copy.write_bytes(path.read_bytes())
    return [str(copy) for copy in copies]


def train(config: Path) -> None:
    run_training(TrainingJob(str(config)))


def test_features_are_written_as_they_evolve(write_config: WriteConfig, tmp_path: Path) -> None:
    keys = {
        "FEATURES__STAGES": STAGES,
        "FEATURES__DUMP_IMAGES": watched(tmp_path),
        "FEATURES__DUMP_PERIOD": 4,
    }
    train(write_config(**keys))
    folder = tmp_path / "run" / "features"
    assert sorted(path.name for path in folder.iterdir()) == ["iter_0000003", "iter_0000005"]
    early, late = (load(folder / name) for name in ("iter_0000003", "iter_0000005"))
    assert sorted(early) == sorted(late) == ["cell", "cell_2"]
    for name in early:
        (before, about), (after, _) = early[name], late[name]
        assert about["iteration"] == 3
        assert about["stages"] == STAGES
        assert before["backbone.p3"].shape == after["backbone.p3"].shape
        assert not torch.equal(before["backbone.p3"], after["backbone.p3"])
    events = b"".join(path.read_bytes() for path in (tmp_path / "run").glob("events.*"))
    assert b"features/cell_2/backbone.p3" in events


def test_watching_does_not_change_the_training(write_config: WriteConfig, tmp_path: Path) -> None:
    train(write_config(OUTPUT_DIR=str(tmp_path / "plain")))
    keys = {"FEATURES__DUMP_IMAGES": watched(tmp_path), "FEATURES__DUMP_PERIOD": 2}
    train(write_config(**keys))
    plain, observed = (read_metrics(tmp_path / run) for run in ("plain", "run"))
    assert plain == observed
    assert "total_loss" in plain[5]
    weights = [
        torch.load(tmp_path / run / "model_final.pth", weights_only=True)["model"]
        for run in ("plain", "run")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ({"FEATURES__DUMP_PERIOD": 2}, ValueError, "DUMP_PERIOD needs FEATURES.DUMP_IMAGES"),
        ({"FEATURES__DUMP_IMAGES": ["gone.png"]}, FileNotFoundError, "No file .*'gone.png'"),
        (
            {"FEATURES__DUMP_IMAGES": [str(DATA / "images")], "FEATURES__STAGES": ["box_hed"]},
            ValueError,
            "Did you mean .*box_head",
        ),
    ],
)
def test_what_cannot_be_watched_is_told_before_the_training(
    write_config: WriteConfig,
    tmp_path: Path,
    keys: dict[str, object],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        train(write_config(**keys))
    assert not (tmp_path / "run" / "model_final.pth").exists()

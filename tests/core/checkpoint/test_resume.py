"""Going on from a folder whose last run was stopped at a bad moment."""

import os
from pathlib import Path

import pytest
from torch import nn

from d2seg.core.checkpoint import DetectionCheckpointer


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with checkpoints of iterations 1, 2 and 3, the last of which is tagged."""
    saver = DetectionCheckpointer(nn.Linear(2, 3), tmp_path)
    for iteration in (1, 2, 3):
        saver.save(f"model_{iteration:07d}", iteration=iteration)
        os.utime(tmp_path / f"model_{iteration:07d}.pth", (iteration, iteration))
    (tmp_path / "model_ema.pth").write_bytes(b"not for resuming")
    return tmp_path


def resume(folder: Path) -> dict[str, object]:
    return DetectionCheckpointer(nn.Linear(2, 3), folder).resume_or_load("weights.pth")


def test_a_missing_last_checkpoint_is_named_with_the_one_to_take(run: Path) -> None:
    (run / "model_0000003.pth").unlink()
    with pytest.raises(FileNotFoundError, match="there is no such file") as caught:
        resume(run)
    assert str(caught.value).startswith(f"'{run}/last_checkpoint' names 'model_0000003.pth'")
    assert "newest other one is 'model_0000002.pth': write this name into" in str(caught.value)
    assert "MODEL.WEIGHTS" not in str(caught.value)
    (run / "last_checkpoint").write_text("model_0000002.pth")
    assert resume(run) == {"iteration": 2}


def test_an_empty_tag_is_told(run: Path) -> None:
    (run / "last_checkpoint").write_text("\n")
    with pytest.raises(FileNotFoundError, match="last_checkpoint' is empty.*'model_0000003.pth'"):
        resume(run)


def test_a_truncated_last_checkpoint_is_named_with_the_one_to_take(run: Path) -> None:
    last = run / "model_0000003.pth"
    last.write_bytes(last.read_bytes()[:500])
    with pytest.raises(ValueError, match="it is truncated") as caught:
        resume(run)
    assert f"'{run}/last_checkpoint' names it" in str(caught.value)
    assert "'model_0000002.pth'" in str(caught.value)


def test_without_another_one_the_training_starts_again(tmp_path: Path) -> None:
    (tmp_path / "model_final.pth").write_bytes(b"half")
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    with pytest.raises(ValueError, match="no other one; start again without --resume"):
        resume(tmp_path)


def test_what_a_killed_run_left_is_removed_by_the_process_that_saves(run: Path) -> None:
    left = [run / ".model_0000004-0a_bcdef.pth", run / ".last_checkpoint-0a_bcdef"]
    other = run / ".metrics-0a_bcdef.json"
    for path in (*left, other):
        path.write_bytes(b"half")
    reader = DetectionCheckpointer(nn.Linear(2, 3), run, save_to_disk=False)
    assert reader.resume_or_load("") == {"iteration": 3}
    assert all(path.exists() for path in left)
    assert resume(run) == {"iteration": 3}
    assert not any(path.exists() for path in left)
    assert other.exists()

"""What is left of the metrics of a killed run."""

from pathlib import Path

import pytest

from d2seg.train.resuming import (
    drop_later_lines,
    was_evaluated_at_end,
    was_killed_after_checkpoint,
    write_period,
)

LINES = '{"iteration": 9, "total_loss": 1.0}\n{"iteration": 19, "total_loss": 2.0}\n'


def test_no_evaluation_waits_to_be_written() -> None:
    assert [write_period(period) for period in (0, 7, 500, 30)] == [20, 1, 20, 10]


@pytest.mark.parametrize(("start", "left"), [(20, 2), (10, 1), (9, 0), (0, 0)])
def test_lines_from_the_start_on_are_dropped_and_half_ones(
    tmp_path: Path, start: int, left: int
) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(LINES + '{"iteration": 2')
    drop_later_lines(path, start)
    assert path.read_text().splitlines() == LINES.splitlines()[:left]


def test_the_evaluation_at_the_end_of_a_run_stays(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(LINES + '{"iteration": 20, "bbox/AP": 50.0}\n')
    drop_later_lines(path, 20)
    assert "bbox/AP" in path.read_text()
    assert was_evaluated_at_end(path, 20)
    assert not was_evaluated_at_end(path, 19)  # that one is of a step
    assert not was_evaluated_at_end(tmp_path / "none.json", 20)


@pytest.mark.parametrize(
    ("start", "end", "is_open"),
    [(20, 100, False), (30, 100, True), (35, 100, False), (35, 35, True), (0, 100, False)],
)
def test_a_line_that_is_due_and_missing_tells_of_a_kill(
    tmp_path: Path, start: int, end: int, is_open: bool
) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(LINES)
    assert was_killed_after_checkpoint(path, start, 10, end) == is_open


def test_the_first_line_may_be_the_missing_one(tmp_path: Path) -> None:
    assert was_killed_after_checkpoint(tmp_path / "metrics.json", 20, 20, 100)

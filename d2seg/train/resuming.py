"""What a resumed run finds of the one that was killed, beside its checkpoint."""

import json
import math
from pathlib import Path
from typing import Any

from d2seg.core.runtime.files import replace_when_complete

WRITE_PERIOD = 20
"""Metrics are written at least every so many iterations."""


def write_period(eval_period: int) -> int:
    """Return the iterations between two lines of metrics: no evaluation waits to be written."""
    return math.gcd(WRITE_PERIOD, eval_period)


def drop_later_lines(metrics: Path, start_iter: int) -> None:
    """Remove what a killed run wrote after its last checkpoint: it will be written again."""
    if not metrics.is_file():
        return
    lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if _stays(line, start_iter)]
    if len(kept) < len(lines):
        with replace_when_complete(metrics) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")


def was_killed_after_checkpoint(metrics: Path, start_iter: int, period: int, end: int) -> bool:
    """Tell whether a run died between a checkpoint and the metrics of the same iteration.

    An evaluation comes between the two, which takes long.

    Args:
        metrics: Its ``metrics.json``, later lines dropped.
        start_iter: The iteration after that of the checkpoint.
        period: As of `write_period`.
        end: The iteration after the last, which is written whatever the period.
    """
    if start_iter == 0 or (start_iter % period and start_iter != end):
        return False
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    return all(json.loads(line)["iteration"] != start_iter - 1 for line in lines)


def was_evaluated_at_end(metrics: Path, end: int) -> bool:
    """Tell whether a run wrote the evaluation at its end, which is the last thing that a run does.

    Args:
        metrics: Its ``metrics.json``, later lines dropped.
        end: The iteration after the last.
    """
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
    return any(_is_last_evaluation(json.loads(line), end) for line in lines)


def _is_last_evaluation(metrics: dict[str, Any], end: int) -> bool:
    # The evaluation at the end of a training has the number of the iteration after the last.
    return metrics["iteration"] == end and "total_loss" not in metrics


def _stays(line: str, start_iter: int) -> bool:
    try:
        metrics = json.loads(line)
    except json.JSONDecodeError:
        return False  # half a line
    return metrics["iteration"] < start_iter or _is_last_evaluation(metrics, start_iter)

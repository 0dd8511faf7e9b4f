"""Reporting metrics, and comparing them with what is expected."""

import logging
import sys
from collections.abc import Mapping
from typing import Any

from d2seg.core.config import CfgNode

logger = logging.getLogger(__name__)


def print_csv_format(results: Mapping[str, Any]) -> None:
    """Log metrics as lines that can be pasted into a spreadsheet; per-class ones are left out.

    Args:
        results: For each task its metrics by name, or one number.
    """
    for task, metrics in results.items():
        if not isinstance(metrics, Mapping):
            logger.info("copypaste: %s=%s", task, metrics)
            continue
        important = {name: value for name, value in metrics.items() if "-" not in name}
        logger.info("copypaste: Task: %s", task)
        logger.info("copypaste: %s", ",".join(important))
        logger.info("copypaste: %s", ",".join(f"{value:.4f}" for value in important.values()))


def flatten_results_dict(results: Mapping[str, Any]) -> dict[str, Any]:
    """Join the names of nested results with slashes: ``{"bbox": {"AP": 1}}`` is ``bbox/AP``."""
    flat: dict[str, Any] = {}
    for name, value in results.items():
        if isinstance(value, Mapping):
            for inner, number in flatten_results_dict(value).items():
                flat[f"{name}/{inner}"] = number
        else:
            flat[name] = value
    return flat


def verify_results(cfg: CfgNode, results: Mapping[str, Any]) -> bool:
    """Compare results with ``TEST.EXPECTED_RESULTS``: task, metric, value and tolerance each.

    Returns:
        True, also when nothing is expected.

    Raises:
        SystemExit: A result is not within its tolerance; code 1.
    """
    wrong = []
    for task, metric, expected, tolerance in cfg.TEST.EXPECTED_RESULTS:
        found = results.get(task, {}).get(metric)
        # Written so that a result that is not a number is wrong.
        if found is None or not abs(found - expected) <= tolerance:
            wrong.append(f"{task} {metric} is {found}, expected {expected} +- {tolerance}")
    if wrong:
        logger.error("Results are not as expected: %s.", "; ".join(wrong))
        sys.exit(1)
    if cfg.TEST.EXPECTED_RESULTS:
        logger.info("Results are as expected.")
    return True

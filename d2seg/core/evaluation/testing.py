"""Reporting metrics."""

import logging
from collections.abc import Mapping

logger = logging.getLogger(__name__)


def print_csv_format(results: Mapping[str, Mapping[str, float]]) -> None:
    """Log metrics as lines that can be pasted into a spreadsheet; per-class ones are left out.

    Args:
        results: For each task its metrics by name.
    """
    for task, metrics in results.items():
        important = {name: value for name, value in metrics.items() if "-" not in name}
        logger.info("copypaste: Task: %s", task)
        logger.info("copypaste: %s", ",".join(important))
        logger.info("copypaste: %s", ",".join(f"{value:.4f}" for value in important.values()))

"""Metrics as tables, for the log."""

import math
from collections.abc import Mapping

from tabulate import tabulate

__all__ = ["metrics_table", "per_class_table"]


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Write the metrics that are not of one class as a table with one row."""
    overall = {name: value for name, value in metrics.items() if "-" not in name}
    return tabulate(
        [list(overall.values())],
        headers=list(overall),
        tablefmt="pipe",
        floatfmt=".3f",
        numalign="center",
        stralign="center",
    )


def per_class_table(metrics: Mapping[str, float], metric: str = "AP", columns: int = 3) -> str:
    """Write the values of ``<metric>-<class>`` as a table, several classes in a row.

    Args:
        metrics: All metrics of a task.
        metric: What is measured for each class.
        columns: Classes in a row.

    Returns:
        The table; empty if there are no values.
    """
    prefix = f"{metric}-"
    cells = [
        (name.removeprefix(prefix), value)
        for name, value in metrics.items()
        if name.startswith(prefix)
    ]
    columns = min(columns, len(cells))
    if columns == 0:
        return ""
    flat = [item for cell in cells for item in cell]
    rows = [
        flat[2 * columns * i : 2 * columns * (i + 1)]
        for i in range(math.ceil(len(cells) / columns))
    ]
    return tabulate(rows, headers=["category", metric] * columns, tablefmt="pipe", floatfmt=".3f")

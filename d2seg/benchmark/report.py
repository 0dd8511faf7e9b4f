"""The result of a benchmark: a table for people, JSON for machines."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from d2seg.benchmark.comparison import Comparison, Spread
from d2seg.core.runtime.files import replace_when_complete


def save_report(
    path: str | Path, comparisons: Sequence[Comparison], about: Mapping[str, Any]
) -> None:
    """Write everything as JSON; the file appears whole or not at all.

    Args:
        path: The file.
        comparisons: One for each contestant, the baseline first.
        about: What was measured and where, as JSON can hold it.
    """
    results = [
        {
            "name": item.name,
            "seconds_per_image": item.seconds_per_image._asdict(),
            "images_per_second": item.images_per_second._asdict(),
            "speedup": item.speedup._asdict(),
            "seconds": item.seconds,
        }
        for item in comparisons
    ]
    document = {**about, "baseline": comparisons[0].name, "results": results}
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def print_report(comparisons: Sequence[Comparison]) -> None:
    """Print the table: median, and in brackets the middle half of the rounds."""
    from rich.console import Console
    from rich.table import Table

    baseline = comparisons[0].name
    table = Table(show_edge=False, caption="Median of the rounds [quartiles]")
    table.add_column("", overflow="fold")
    for heading in ("ms per image", "images/s", f"times as fast as the {baseline}"):
        table.add_column(heading, justify="right")
    for item in comparisons:
        milliseconds = Spread(*(1000 * value for value in item.seconds_per_image))
        cells = (milliseconds, item.images_per_second, item.speedup)
        table.add_row(item.name, *map(_text, cells))
    # Brackets would be read as markup.
    Console(markup=False, highlight=False).print(table)


def _text(spread: Spread) -> str:
    median, lower, upper = (_round(value) for value in spread)
    return f"{median} [{lower}, {upper}]"


def _round(value: float) -> str:
    """Return a number with three digits, or all that stand before its point."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"

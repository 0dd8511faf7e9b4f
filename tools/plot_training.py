#!/usr/bin/env python
"""Draw the metrics of a training over its iterations, as an SVG file.

    plot_training.py output/metrics.json --output curves.svg --metrics bbox/AP segm/AP total_loss

Several files are drawn into one chart, for runs that are to be compared.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from d2seg.cli import USER_ERRORS, describe_error
from d2seg.core.runtime.files import replace_when_complete
from d2seg.report.evaluation.svg import (
    HEIGHT,
    STYLE,
    WIDTH,
    Axes,
    Line,
    line_chart,
    round_steps,
)

COLORS = ("#3366cc", "#dc7f10", "#2e9e5b", "#b5379b", "#888888", "#c0392b")

Points = list[tuple[float, float]]


def read_metric(path: Path, name: str) -> Points:
    """Return iteration and value of a metric from a file of JSON lines, in order.

    Raises:
        ValueError: No line has the metric.
    """
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    points = {line["iteration"]: line[name] for line in lines if line.get(name) is not None}
    if not points:
        known = ", ".join(sorted({key for line in lines for key in line} - {"iteration"}))
        raise ValueError(f"'{path}' has no metric '{name}'; it has {known or 'none'}.")
    return sorted(points.items())


def draw(curves: Sequence[tuple[str, Points]]) -> str:
    """Return an SVG document with the curves in one chart and a legend below it."""
    last = max(x for _, points in curves for x, _ in points)
    highest = max(y for _, points in curves for _, y in points)
    y_max = round_steps(highest)[-1] if highest > 0 else 1.0
    axes = Axes("iteration", "value", (0.0, 5.0 * math.ceil(max(last, 1.0) / 5)), y_max)
    lines = [
        Line(name, points, COLORS[index % len(COLORS)])
        for index, (name, points) in enumerate(curves)
    ]
    chart = line_chart(axes, lines)
    legend = Markup("").join(
        Markup('<text x="54" y="{}" style="fill:{}">{}</text>').format(
            HEIGHT + 14 + 15 * index, line.color, line.name
        )
        for index, line in enumerate(lines)
    )
    height = HEIGHT + 8 + 15 * len(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH * 3 // 2}"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="white"/>'
        f'<svg width="{WIDTH}" height="{HEIGHT}">{chart}</svg>{legend}</svg>\n'
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="metrics.json of runs")
    parser.add_argument("--output", required=True, type=Path, help="the SVG file to write")
    parser.add_argument("--metrics", nargs="+", default=["total_loss"], metavar="NAME")
    args = parser.parse_args(arguments)

    curves = []
    for path in args.files:
        for name in args.metrics:
            label = name if len(args.files) == 1 else f"{path.parent.name}: {name}"
            curves.append((label, read_metric(path, name)))
    with replace_when_complete(args.output) as temporary:
        temporary.write_text(draw(curves), encoding="utf-8")
    print(f"{args.output}: {len(curves)} curve(s)")


if __name__ == "__main__":
    try:
        main()
    except USER_ERRORS as error:
        sys.exit(f"error: {describe_error(error)}")

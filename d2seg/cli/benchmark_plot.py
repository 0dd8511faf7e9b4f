"""``--plot`` of ``d2seg benchmark``: its figures as an SVG file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

    from d2seg.benchmark import Comparison
    from d2seg.benchmark.growth import Point
    from d2seg.report.evaluation import svg


def draw_comparisons(comparisons: "Sequence[Comparison]", path: Path) -> None:
    """Draw a bar for each contestant: the median, and the quartiles over it."""
    _write([_bars("ms per image, quartiles", comparisons)], path)


def draw_parts(parts: "Mapping[str, Sequence[Comparison]]", path: Path) -> None:
    """Draw such a chart for each part of the work."""
    _write([_bars(f"{name}: ms per image, quartiles", one) for name, one in parts.items()], path)


def _bars(title: str, comparisons: "Sequence[Comparison]") -> "Markup":
    from d2seg.report.evaluation import svg

    rows = [(one.name, 1000 * one.seconds_per_image.median) for one in comparisons]
    middles = [
        (1000 * one.seconds_per_image.lower, 1000 * one.seconds_per_image.upper)
        for one in comparisons
    ]
    return svg.named_bars(title, rows, middles, "#3366cc")


def draw_growth(points: "Sequence[Point]", path: Path) -> None:
    """Draw a chart for each thing that grows, beside the straight line through its first points."""
    from d2seg.report.evaluation import svg

    charts = []
    for what in dict.fromkeys(one.what for one in points):
        line = [(one.amount, one.seconds.median) for one in points if one.what == what]
        reached = max(value for _, value in line)
        axes = svg.Axes(what, "seconds", (0.0, line[-1][0]), svg.round_steps(reached)[-1])
        lines = [svg.Line("measured", line, "#3366cc")]
        if len(line) > 2:
            straight = [line[0], _further_on(line[0], line[1], axes)]
            lines.insert(0, svg.Line("as from first to second", straight, "#aaaaaa", 1.0))
        charts.append(svg.line_chart(axes, lines) + svg.legend(lines))
    _write(charts, path)


def _further_on(
    first: tuple[float, float], second: tuple[float, float], axes: "svg.Axes"
) -> tuple[float, float]:
    """Return where the straight line through two points leaves a chart; level, if it falls."""
    slope = max(0.0, (second[1] - first[1]) / (second[0] - first[0]))
    end = axes.x_range[1]
    if slope > 0:
        end = min(end, first[0] + (axes.y_max - first[1]) / slope)
    return end, first[1] + slope * (end - first[0])


def _write(charts: "Sequence[Markup]", path: Path) -> None:
    from d2seg.core.runtime.files import replace_when_complete
    from d2seg.report.evaluation import svg

    with replace_when_complete(path) as temporary:
        temporary.write_text(svg.document(charts), encoding="utf-8")
    print(f"{path}: the figures drawn")

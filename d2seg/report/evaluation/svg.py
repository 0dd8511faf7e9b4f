"""Line charts and stacked bars as inline SVG; its colours follow the page's style sheet.

Texts are escaped. Coordinates of a drawing are its own units, of which it is 440 x 300.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 440, 300
STYLE = (
    "text{font:11px sans-serif;fill:#555}.title{font-weight:bold}"
    ".grid{stroke:#ccc;fill:none}polyline,path{fill:none}"
)
"""Of charts in a file of their own; a page has its own style sheet."""

LEFT, RIGHT, TOP, BOTTOM = 50, 14, 12, 44

LONGEST_NAME = 40
"""Letters of the name of a lying bar."""

_LETTER = 6.2
"""Width of a letter of `STYLE`, of most texts not less than they take."""


class Line(NamedTuple):
    """A curve: its name, its points in units of the axes, a CSS colour, and how wide it is."""

    name: str
    points: Sequence[tuple[float, float]]
    color: str
    width: float = 2.0


class Bars(NamedTuple):
    """One layer of stacked bars: its name, a height for each bar, and a CSS colour."""

    name: str
    heights: Sequence[float]
    color: str


class Axes(NamedTuple):
    """Titles and ranges of the two axes; y starts at 0."""

    x_title: str
    y_title: str
    x_range: tuple[float, float] = (0.0, 1.0)
    y_max: float = 1.0

    def x(self, value: float) -> float:
        """Return where a value lies from the left."""
        low, high = self.x_range
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Return where a value lies from the top."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self.y_max


def line_chart(axes: Axes, lines: Sequence[Line], marker: float | None = None) -> Markup:
    """Draw curves over each other, the first at the bottom.

    Args:
        axes: Points outside their ranges are drawn outside the frame.
        lines: Those without points are left out.
        marker: Where on the x axis to draw a dashed line.
    """
    curves = Markup("").join(_curve(axes, line) for line in lines if line.points)
    return _frame(axes, curves + _marker(axes, marker))


def bar_chart(
    axes: Axes, edges: Sequence[float], layers: Sequence[Bars], marker: float | None = None
) -> Markup:
    """Draw stacked bars, the first layer at the bottom.

    Args:
        axes: As for :func:`line_chart`.
        edges: N + 1 rising x values, between which the N bars stand.
        layers: Each with N heights.
        marker: Where on the x axis to draw a dashed line.
    """
    drawn = Markup("")
    floors = [0.0] * (len(edges) - 1)
    for layer in layers:
        tops = [low + height for low, height in zip(floors, layer.heights, strict=True)]
        bars = zip(edges, edges[1:], floors, tops, strict=False)
        drawn += Markup("").join(_bar(axes, layer, *bar) for bar in bars if bar[2] < bar[3])
        floors = tops
    return _frame(axes, drawn + _marker(axes, marker))


def named_bars(
    title: str,
    rows: Sequence[tuple[str, float]],
    middles: Sequence[tuple[float, float]],
    color: str,
) -> Markup:
    """Draw a lying bar for each of some names, and over its end the quartiles as a line.

    Args:
        title: Of the horizontal axis, with its unit.
        rows: Name and length of each bar; lengths are more than 0. Of a name longer than
            `LONGEST_NAME` the end is written, such as that of a path.
        middles: Lower and upper quartile of each.
        color: Of the bars, in CSS.
    """
    steps = round_steps(
        max(max(length, upper) for (_, length), (_, upper) in zip(rows, middles, strict=True))
    )
    longest = max(len(_shortened(name)) for name, _ in rows)
    left, pitch = 14 + _LETTER * longest, (HEIGHT - TOP - BOTTOM) / len(rows)
    scale = (WIDTH - left - 2 * RIGHT) / steps[-1]  # half of the last number stands further out
    drawn = Markup("")
    for value in steps:
        x = left + scale * value
        drawn += Markup('<path class="grid" d="M{:.1f} {}V{}"/>').format(x, TOP, HEIGHT - BOTTOM)
        drawn += _text(x, HEIGHT - BOTTOM + 18, f"{value:g}", "middle")
    for index, ((name, length), (lower, upper)) in enumerate(zip(rows, middles, strict=True)):
        y = TOP + pitch * (index + 0.5)
        drawn += _text(left - 7, y + 4, _shortened(name), "end")
        drawn += Markup(
            '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" style="fill: {}">'
            "<title>{}: {:.4g} [{:.4g}, {:.4g}]</title></rect>"
        ).format(
            left, y - pitch * 0.3, scale * length, pitch * 0.6, color, name, length, lower, upper
        )
        drawn += Markup('<path style="stroke: #222" d="M{:.1f} {:.1f}H{:.1f}"/>').format(
            left + scale * lower, y, left + scale * upper
        )
    drawn += _text(left + scale * steps[-1] / 2, HEIGHT - 6, title, "middle", "title")
    return (
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            WIDTH, HEIGHT, title
        )
        + drawn
        + Markup("</svg>")
    )


def legend(lines: Sequence[Line]) -> Markup:
    """Name the curves of a chart in its top left, each in its colour."""
    drawn = Markup("")
    for index, line in enumerate(lines):
        y = TOP + 14 + 14 * index
        drawn += Markup('<path style="stroke: {}; stroke-width: {:g}" d="M{} {}h18"/>').format(
            line.color, line.width, LEFT + 8, y - 4
        )
        drawn += _text(LEFT + 31, y, line.name, "start")
    return drawn


def document(charts: Sequence[Markup]) -> str:
    """Put charts below each other into an SVG file with a style of its own."""
    placed = Markup("").join(
        Markup('<svg y="{}" width="{}" height="{}">{}</svg>').format(
            HEIGHT * index, WIDTH, HEIGHT, chart
        )
        for index, chart in enumerate(charts)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * len(charts)}" '
        f'width="{WIDTH}"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="white"/>{placed}</svg>\n'
    )


def round_steps(highest: float) -> list[float]:
    """Return evenly spaced round numbers from 0 that reach ``highest``, six of them at most.

    Args:
        highest: More than 0.
    """
    least = highest / 5
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * part for part in (1, 2, 5, 10) if least <= power * part * (1 + 1e-9))
    return [round(step * index, 10) for index in range(math.ceil(highest / step - 1e-9) + 1)]


def _frame(axes: Axes, inside: Markup) -> Markup:
    label = f"{axes.y_title} over {axes.x_title}"
    return (
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            WIDTH, HEIGHT, label
        )
        + _x_axis(axes)
        + _y_axis(axes)
        + inside
        + Markup("</svg>")
    )


def _x_axis(axes: Axes) -> Markup:
    low, high = axes.x_range
    ticks = Markup("").join(
        _text(axes.x(value), HEIGHT - BOTTOM + 18, f"{value:.4g}", "middle")
        for value in (low + (high - low) * part / 5 for part in range(6))
    )
    title = _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, axes.x_title, "middle", "title")
    return ticks + title


def _y_axis(axes: Axes) -> Markup:
    drawn = Markup("")
    for value in round_steps(axes.y_max):
        y = axes.y(value)
        drawn += Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(LEFT, y, WIDTH - RIGHT)
        drawn += _text(LEFT - 7, y + 4, f"{value:g}", "end")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return drawn + Markup(
        '<text class="title" text-anchor="middle" transform="translate(13 {:.1f}) rotate(-90)">'
        "{}</text>"
    ).format(middle, axes.y_title)


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else "…" + name[1 - LONGEST_NAME :]


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, text
    )


def _curve(axes: Axes, line: Line) -> Markup:
    places = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in line.points)
    return Markup(
        '<polyline points="{}" style="stroke: {}; stroke-width: {:g}"><title>{}</title></polyline>'
    ).format(places, line.color, line.width, line.name)


def _bar(axes: Axes, layer: Bars, left: float, right: float, low: float, high: float) -> Markup:
    x, y = axes.x(left), axes.y(high)
    name = f"{layer.name}, {left:.3g} to {right:.3g}: {high - low:g}"
    return Markup(
        '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" style="fill: {}">'
        "<title>{}</title></rect>"
    ).format(x + 0.6, y, axes.x(right) - x - 1.2, axes.y(low) - y, layer.color, name)


def _marker(axes: Axes, value: float | None) -> Markup:
    if value is None:
        return Markup("")
    return Markup('<path class="marker" d="M{:.1f} {}V{}"><title>{:.3g}</title></path>').format(
        axes.x(value), TOP, HEIGHT - BOTTOM, value
    )

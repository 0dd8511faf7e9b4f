"""What the plots of the benchmark show."""

from pathlib import Path

import pytest

from d2seg.benchmark.comparison import Spread
from d2seg.benchmark.growth import Point
from d2seg.cli.benchmark_plot import _further_on, draw_growth
from d2seg.report.evaluation.svg import Axes

AXES = Axes("objects", "seconds", (0.0, 100.0), 4.0)


@pytest.mark.parametrize(
    ("second", "end"),
    [
        ((20.0, 1.1), (100.0, 1.9)),  # reaches the right
        ((20.0, 2.0), (40.0, 4.0)),  # reaches the top
        ((20.0, 0.5), (100.0, 1.0)),  # falls: is drawn level
    ],
)
def test_the_straight_line_ends_where_the_chart_does(
    second: tuple[float, float], end: tuple[float, float]
) -> None:
    assert _further_on((10.0, 1.0), second, AXES) == pytest.approx(end)


def test_growth_has_a_chart_for_each_thing(tmp_path: Path) -> None:
    times = [("objects", 10, 1.0), ("objects", 20, 1.1), ("objects", 30, 1.3), ("threads", 1, 2.0)]
    path = tmp_path / "growth.svg"
    draw_growth([Point(what, n, Spread(s, s, s)) for what, n, s in times], path)
    drawn = path.read_text()
    assert drawn.count('"start">measured<') == 2
    assert drawn.count('"start">as from first to second<') == 1

import re
from xml.etree import ElementTree

import pytest

from d2seg.report.evaluation.svg import (
    LONGEST_NAME,
    Axes,
    Bars,
    Line,
    bar_chart,
    line_chart,
    named_bars,
    round_steps,
)

AXES = Axes("Recall", "Precision")


def elements(svg: str, tag: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(svg).findall(tag)


def test_points_lie_where_the_axes_say() -> None:
    assert (AXES.x(0), AXES.x(1)) == (50, 426)
    assert (AXES.y(0), AXES.y(1)) == (256, 12)
    wide = Axes("Score", "Detections", (-1.0, 3.0), 50.0)
    assert (wide.x(1), wide.y(25)) == ((50 + 426) / 2, (12 + 256) / 2)


def test_each_line_is_drawn_with_its_name_and_colour() -> None:
    lines = [Line("a", [(0, 1), (1, 0.5)], "red", 3), Line("nothing", [], "blue")]
    svg = line_chart(AXES, lines, marker=0.5)
    (curve,) = elements(svg, "polyline")
    assert curve.get("points") == "50.0,12.0 426.0,134.0"
    assert curve.get("style") == "stroke: red; stroke-width: 3"
    assert [title.text for title in curve.findall("title")] == ["a"]
    markers = [path for path in elements(svg, "path") if path.get("class") == "marker"]
    assert [path.get("d") for path in markers] == ["M238.0 12V256"]


def test_bars_are_stacked() -> None:
    axes = Axes("Score", "Detections", y_max=4.0)
    svg = bar_chart(axes, [0, 0.5, 1], [Bars("low", [1, 0], "red"), Bars("top", [2, 4], "blue")])
    bars = [
        (bar.get("y"), bar.get("height"), bar.findall("title")[0].text)
        for bar in elements(svg, "rect")
    ]
    assert bars == [
        ("195.0", "61.0", "low, 0 to 0.5: 1"),
        ("73.0", "122.0", "top, 0 to 0.5: 2"),
        ("12.0", "244.0", "top, 0.5 to 1: 4"),
    ]


def test_names_are_escaped() -> None:
    svg = line_chart(Axes("<x>", '"y"'), [Line("</title><script>", [(0, 0)], "red")])
    assert "<script" not in svg
    (curve,) = elements(svg, "polyline")
    assert [title.text for title in curve.findall("title")] == ["</title><script>"]
    assert ElementTree.fromstring(svg).get("aria-label") == '"y" over <x>'


@pytest.mark.parametrize(
    ("highest", "steps"),
    [
        (1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (5.0, [0, 1, 2, 3, 4, 5]),
        (1155.0, [0, 500, 1000, 1500]),
        (41.0, [0, 10, 20, 30, 40, 50]),
        (0.03, [0, 0.01, 0.02, 0.03]),
    ],
)
def test_round_steps(highest: float, steps: list[float]) -> None:
    assert round_steps(highest) == pytest.approx(steps)
    assert all(re.fullmatch(r"\d+(\.\d{1,2})?", f"{step:g}") for step in round_steps(highest))


def test_the_margin_of_lying_bars_holds_the_longest_name() -> None:
    def bars_of(name: str) -> tuple[str, float, float]:
        svg = named_bars("ms", [("core", 2.0), (name, 1.0)], [(2, 2), (1, 1)], "red")
        *_, written = [one for one in elements(svg, "text") if one.get("text-anchor") == "end"]
        bar = elements(svg, "rect")[-1]
        assert (bar.findtext("title") or "").startswith(f"{name}: ")
        return written.text or "", float(written.get("x", 0)), float(bar.get("x", 0))

    name = "mobile_optimized_int8.onnx"
    written, end, left = bars_of(name)
    assert written == name
    assert len(name) * 6 < end < left
    assert bars_of("core")[2] < left
    written, end, _ = bars_of("a/very/long/folder/of/somebody/with/" + name)
    assert written == "…" + ("a/very/long/folder/of/somebody/with/" + name)[1 - LONGEST_NAME :]
    assert LONGEST_NAME * 6 < end < 440 * 0.75

"""The charts of the page: precision and recall, by IoU, by class and by score."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from d2seg.report.evaluation.evaluate import Evaluation
from d2seg.report.evaluation.scores import MATCH_INDEX, Measurement, ScoreCurve
from d2seg.report.evaluation.svg import Axes, Bars, Line, bar_chart, line_chart, round_steps
from d2seg.report.evaluation.tables import percent

CLASS_COLORS = (
    "#3584e4", "#e66100", "#26a269", "#c061cb", "#c88800",
    "#e01b24", "#1a9fb0", "#8d6e63", "#7c7ff0", "#7a8a99",
)  # fmt: skip
"""Told apart on white and on black."""
HIGHLIGHTED = 5
"""How many classes stand out where there are more than colours."""
CORRECT_COLOR, WRONG_COLOR, FAINT_COLOR = "#3584e4", "#e0416a", "var(--faint)"
BINS = 20


class Chart(NamedTuple):
    """A chart: its title, what to know about it, the drawing, and colour and name of each part."""

    title: str
    note: str
    svg: Markup
    legend: Sequence[tuple[str, str]]


def iou_chart(measurement: Measurement) -> Chart:
    """Draw precision over recall for each IoU threshold, the mean of the classes."""
    curves = measurement.mean_precision()
    thresholds = measurement.iou_thresholds
    lines = [
        Line(
            f"IoU {threshold:.2f}: AP {percent(100 * curve.mean())}",
            _curve_points(measurement.recalls, curve),
            f"hsl({225 + 165 * index / max(1, len(thresholds) - 1):.0f} 72% 55%)",
        )
        for index, (threshold, curve) in enumerate(zip(thresholds, curves, strict=True))
    ]
    note = "The area below a curve is the AP at its threshold; AP is the mean of the ten."
    svg = line_chart(Axes("Recall", "Precision"), lines)
    return Chart("By overlap asked for", note, svg, _legend(lines))


def class_chart(evaluation: Evaluation) -> Chart:
    """Draw precision over recall at IoU 0.5 for each class that has objects.

    Where there are more classes than colours, those of most objects stand out.
    """
    measurement = evaluation.measurement
    classes = evaluation.class_figures()
    measured = [index for index, one in enumerate(classes) if one.objects]
    measured.sort(key=lambda index: -classes[index].objects)
    many = len(measured) > len(CLASS_COLORS)
    number = HIGHLIGHTED if many else len(measured)

    def line(index: int, color: str, width: float) -> Line:
        curve = measurement.precision[MATCH_INDEX, :, index]
        name = f"{classes[index].name}: AP50 {percent(classes[index].ap50)}"
        return Line(name, _curve_points(measurement.recalls, curve), color, width)

    colored = [
        line(index, color, 2.0)
        for index, color in zip(measured, CLASS_COLORS[:number], strict=False)
    ]
    others = [line(index, FAINT_COLOR, 1.0) for index in measured[number:]]
    legend = _legend(colored)
    if others:
        legend.append((FAINT_COLOR, f"the {len(others)} other classes"))
    note = f"The {number} classes of most objects are coloured." if many else ""
    svg = line_chart(Axes("Recall", "Precision"), [*others, *colored])
    return Chart("By class, at IoU 0.5", note, svg, legend)


def threshold_chart(curve: ScoreCurve, threshold: float) -> Chart:
    """Draw precision, recall and F1 of all classes together over the score threshold."""
    low, high = _score_range(curve)
    steps = np.linspace(low, high, 101).tolist()
    values = [curve.at(step) for step in steps]
    lines = [
        Line(name, _defined(steps, [value[index] for value in values]), color)
        for index, (name, color) in enumerate(
            (("precision", CLASS_COLORS[0]), ("recall", CLASS_COLORS[1]), ("F1", CLASS_COLORS[2]))
        )
    ]
    axes = Axes("Score threshold", "Share", (low, high))
    note = "What a threshold keeps and costs, all classes together, at IoU 0.5."
    return Chart("By score", note, line_chart(axes, lines, threshold), _legend(lines))


def score_histogram(curve: ScoreCurve, threshold: float) -> tuple[Chart, dict[str, list[float]]]:
    """Draw how many detections have which score; return the chart and its numbers too."""
    low, high = _score_range(curve)
    edges = np.linspace(low, high, BINS + 1)
    correct, _ = np.histogram(curve.scores[curve.correct], edges)
    wrong, _ = np.histogram(curve.scores[~curve.correct], edges)
    highest = max(5.0, float((correct + wrong).max()))
    axes = Axes("Score", "Detections", (low, high), round_steps(highest)[-1])
    layers = [
        Bars("correct", correct.tolist(), CORRECT_COLOR),
        Bars("not correct", wrong.tolist(), WRONG_COLOR),
    ]
    svg = bar_chart(axes, edges.tolist(), layers, threshold)
    note = "The more the two colours lie apart, the more a score says."
    legend = [(layer.color, layer.name) for layer in layers]
    numbers = {
        "edges": edges.tolist(),
        "correct": correct.tolist(),
        "not_correct": wrong.tolist(),
    }
    return Chart("Scores of the detections", note, svg, legend), numbers


def _legend(lines: Sequence[Line]) -> list[tuple[str, str]]:
    return [(line.color, line.name) for line in lines]


def _curve_points(recalls: np.ndarray, precision: np.ndarray) -> list[tuple[float, float]]:
    """Pair the values up to the recall that was reached; beyond it COCO counts precision as 0."""
    reached = np.flatnonzero(precision > 0)
    end = int(reached[-1]) + 1 if reached.size else 0
    return list(zip(recalls[:end].tolist(), precision[:end].tolist(), strict=True))


def _defined(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(xs, ys, strict=True) if not np.isnan(y)]


def _score_range(curve: ScoreCurve) -> tuple[float, float]:
    """Return 0 and 1, or more where scores lie outside."""
    return min([0.0, *curve.scores[-1:].tolist()]), max([1.0, *curve.scores[:1].tolist()])

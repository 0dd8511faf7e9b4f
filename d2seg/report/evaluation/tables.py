"""The tables of the page."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from d2seg.report.evaluation.confusion import most_confused
from d2seg.report.evaluation.evaluate import ClassFigures, Evaluation
from d2seg.report.evaluation.scores import SUMMARY_NAMES
from d2seg.report.page import Table

LARGEST_GRID = 12
"""With more classes the page has the most confused pairs instead of the whole confusion matrix."""
SHOWN_PAIRS = 20
CLASS_TITLES = ("Class", "AP", "AP50", "AP75", "Objects", "Detections", "Precision", "Recall")
UNDEFINED = "\N{EN DASH}"


class Cell(NamedTuple):
    """A cell of the confusion matrix: its text, how strong its colour is (0..1), and its kind."""

    text: str
    share: float
    kind: str


class Grid(NamedTuple):
    """The confusion matrix: column titles, and rows of a title and cells."""

    titles: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]


def percent(value: float, digits: int = 1, sign: str = "") -> str:
    """Write a percentage, followed by ``sign``, or a dash where it is undefined."""
    return UNDEFINED if math.isnan(value) else f"{value:.{digits}f}{sign}"


def summary_tables(summary: dict[str, float]) -> tuple[Table, Table]:
    """Lay out average precision, and average recall."""
    names = SUMMARY_NAMES[:6], SUMMARY_NAMES[6:]
    rows = [[percent(summary[name], 3) for name in part] for part in names]
    return Table(names[0], [rows[0]]), Table(names[1], [rows[1]])


def class_table(evaluation: Evaluation) -> Table:
    """List the classes that have objects or detections, lowest AP first, those without AP last."""
    seen = [one for one in evaluation.class_figures() if one.objects or one.detections]
    rows = sorted(seen, key=lambda one: (math.isnan(one.ap), one.ap, one.id))
    return Table(CLASS_TITLES, [_class_row(one) for one in rows])


def confusion_grid(evaluation: Evaluation) -> Grid:
    """Lay the whole confusion matrix out.

    A cell is as strong in colour as its share of the objects in its row; in the row of the
    background, of the detections in its column.
    """
    matrix = evaluation.matrix
    names = evaluation.class_names
    rows, columns = matrix.sum(axis=1), matrix.sum(axis=0)
    background = len(names)
    grid = []
    for row, name in enumerate([*names, "background"]):
        cells = []
        for column in range(background + 1):
            whole = columns[column] if row == background else rows[row]
            cells.append(_cell(matrix, row, column, int(whole)))
        grid.append((name, cells))
    return Grid([*names, "background"], grid)


def pair_table(evaluation: Evaluation) -> Table:
    """List the pairs of classes that are confused most often."""
    names = evaluation.class_names
    rows = [
        (names[pair.truth], names[pair.detected], str(pair.objects), percent(100 * pair.share))
        for pair in most_confused(evaluation.matrix, SHOWN_PAIRS)
    ]
    return Table(("Is", "Taken for", "Objects", "% of the class"), rows)


def _class_row(figures: ClassFigures) -> list[str]:
    average_precisions = (figures.ap, figures.ap50, figures.ap75)
    return [
        figures.name,
        *(percent(value) for value in average_precisions),
        f"{figures.objects:,}",
        f"{figures.detections:,}",
        percent(figures.precision),
        percent(figures.recall),
    ]


def _cell(matrix: np.ndarray, row: int, column: int, whole: int) -> Cell:
    count, background = int(matrix[row, column]), len(matrix) - 1
    if row == column == background:
        return Cell("", 0.0, "none")
    share = count / whole if whole else 0.0
    if count == 0:
        return Cell("0", 0.0, "zero")
    return Cell(f"{count:,}", share, "hit" if row == column else "error")

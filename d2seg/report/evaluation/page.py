"""What is on the evaluation page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from d2seg.report.evaluation.charts import Chart, class_chart, iou_chart, threshold_chart
from d2seg.report.evaluation.drawing import VERDICT_COLORS
from d2seg.report.evaluation.evaluate import Evaluation
from d2seg.report.evaluation.matching import Verdict
from d2seg.report.evaluation.tables import (
    LARGEST_GRID,
    Grid,
    class_table,
    confusion_grid,
    pair_table,
    percent,
    summary_tables,
)
from d2seg.report.evaluation.worst import WorstImage
from d2seg.report.page import EMPTY_TABLE, Table

SHOWN_CLASSES = 20
"""With more classes the others are folded away."""
FEW = 0.05
"""A model that finds less than this share of the objects was hardly meant for them."""
SAME = "Do detections and annotations belong to the same images?"
WHAT = {"segm": "masks", "bbox": "boxes"}

LEGEND = {
    Verdict.CORRECT: "found, and correct detection",
    Verdict.MISSED: "missed object",
    Verdict.FALSE: "false positive: no object there, or one that is found already",
    Verdict.CONFUSED: "object of one class taken for another",
    Verdict.IGNORED: "not counted: crowds, and detections on them",
}


class WorstFigure(NamedTuple):
    """An image on the page: file name, its errors in words, two pictures, and what is wrong."""

    name: str
    caption: str
    objects_picture: str
    detections_picture: str
    problem: str


@dataclass
class EvaluationPage:
    """Everything the page shows.

    Attributes:
        title: Heading.
        introduction: What was measured, in a sentence.
        figures: Key figures: a number and what it is.
        warnings: What a reader should know first.
        precision: Average precision.
        recall: Average recall.
        classes: The classes of lowest AP, if there is more than one.
        more_classes: Those that are folded away.
        charts: In their order.
        threshold: What the score threshold is and how it was chosen.
        grid: The confusion matrix, if the classes are few.
        pairs: The most confused pairs, if they are many.
        legend: Colour and meaning of what is drawn.
        worst: The worst images.
        worst_note: Which these are.
    """

    title: str
    introduction: str
    figures: list[tuple[str, str]]
    warnings: list[str]
    precision: Table
    recall: Table
    classes: Table
    more_classes: Table
    charts: list[Chart]
    threshold: str
    grid: Grid | None = None
    pairs: Table = EMPTY_TABLE
    legend: list[tuple[str, str]] = field(default_factory=list)
    worst: list[WorstFigure] = field(default_factory=list)
    worst_note: str = ""


def build_page(
    evaluation: Evaluation, histogram: Chart, worst: Sequence[WorstImage], title: str
) -> EvaluationPage:
    """Lay out what was measured.

    Args:
        evaluation: What was measured.
        histogram: The chart of the scores.
        worst: The images that were drawn.
        title: Heading of the page.
    """
    many = len(evaluation.class_names) > LARGEST_GRID
    precision, recall = summary_tables(evaluation.measurement.summary)
    classes = class_table(evaluation) if len(evaluation.class_names) > 1 else EMPTY_TABLE
    return EvaluationPage(
        title=title,
        introduction=_introduction(evaluation),
        figures=_figures(evaluation),
        warnings=_warnings(evaluation, worst),
        precision=precision,
        recall=recall,
        classes=Table(classes.titles, classes.rows[:SHOWN_CLASSES]),
        more_classes=Table(classes.titles, classes.rows[SHOWN_CLASSES:]),
        charts=_charts(evaluation, histogram),
        threshold=_threshold(evaluation),
        grid=None if many else confusion_grid(evaluation),
        pairs=pair_table(evaluation) if many else EMPTY_TABLE,
        legend=_legend(evaluation),
        worst=[_worst_figure(image) for image in worst],
        worst_note=_worst_note(evaluation, worst),
    )


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _introduction(evaluation: Evaluation) -> str:
    detections = len(evaluation.measurement.coco_eval.cocoDt.anns)
    classes = _count(len(evaluation.class_names), "class", "classes")
    return (
        f"{_count(detections, 'detection')} against "
        f"{_count(evaluation.curve.num_objects, 'annotated object')} of {classes} in "
        f"{_count(len(evaluation.images), 'image')}. "
        f"Overlap (IoU) is that of {WHAT[evaluation.iou_type]}."
    )


def _figures(evaluation: Evaluation) -> list[tuple[str, str]]:
    summary = evaluation.measurement.summary
    shares = evaluation.curve.at(evaluation.threshold)
    names = ("precision", "recall", "F1")
    chosen = evaluation.curve.correct.any() or not evaluation.threshold_is_best
    at_threshold = f"at score {evaluation.threshold:.2f}" if chosen else "of all detections"
    return [
        *((percent(summary[name]), name) for name in ("AP", "AP50", "AP75")),
        *(
            (percent(100 * share, sign="%"), f"{name} {at_threshold}")
            for name, share in zip(names, shares, strict=True)
        ),
    ]


def _warnings(evaluation: Evaluation, worst: Sequence[WorstImage]) -> list[str]:
    warnings = []
    num_objects, found = evaluation.curve.num_objects, int(evaluation.curve.correct.sum())
    if not evaluation.measurement.coco_eval.cocoDt.anns:
        warnings.append("There are no detections.")
    elif num_objects and found < FEW * num_objects:
        warnings.append(
            f"Only {found} of the annotated objects ({num_objects:,}) were found, even at IoU 0.5 "
            f"and whatever the score. {SAME}"
        )
    outside = _count_outside(evaluation)
    if outside:
        warnings.append(
            f"{_count(outside, 'detection')} went beyond the edge of the image, as those of larger "
            f"images do. {SAME}"
        )
    if not num_objects:
        warnings.append("There are no annotated objects, so nothing can be measured.")
    if 0 in evaluation.ground_truth.anns:
        warnings.append(
            "An annotation has the id 0. pycocotools never counts it as found; number from 1."
        )
    unread = sum(bool(image.problem) for image in worst)
    if unread:
        warnings.append(
            f"{unread} of the {len(worst)} pictures on the page are drawn on grey, because the "
            "image file is missing or does not fit; each says why."
        )
    return warnings


def _count_outside(evaluation: Evaluation) -> int:
    """Count the detections whose box ends more than a pixel beyond the image."""
    images = evaluation.ground_truth.imgs
    outside = 0
    for item in evaluation.measurement.coco_eval.cocoDt.anns.values():
        (x, y, width, height), image = item["bbox"], images[item["image_id"]]
        outside += x + width > image["width"] + 1 or y + height > image["height"] + 1
    return outside


def _charts(evaluation: Evaluation, histogram: Chart) -> list[Chart]:
    charts = [iou_chart(evaluation.measurement)]
    if len(evaluation.class_names) > 1:
        charts.append(class_chart(evaluation))
    return [*charts, threshold_chart(evaluation.curve, evaluation.threshold), histogram]


def _threshold(evaluation: Evaluation) -> str:
    if not evaluation.threshold_is_best:
        how = "the score asked for"
    elif evaluation.curve.correct.any():
        how = "where F1 over all classes is highest"
    else:
        how = "all of them, because no score tells correct ones from others"
    return (
        f"Here a detection counts from a score of {evaluation.threshold:.3g} on ({how}) and is "
        "correct if it is the best match of an object of its class with IoU 0.5 or more."
    )


def _legend(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Explain the colours that this data set can have."""
    left_out = set() if len(evaluation.class_names) > 1 else {Verdict.CONFUSED}
    if not any(item["iscrowd"] for item in evaluation.ground_truth.anns.values()):
        left_out.add(Verdict.IGNORED)
    shown = (verdict for verdict in LEGEND if verdict not in left_out)
    return [(_css_color(VERDICT_COLORS[verdict]), LEGEND[verdict]) for verdict in shown]


def _css_color(rgb: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{value:02x}" for value in rgb)


def _worst_figure(image: WorstImage) -> WorstFigure:
    judged = image.judged
    parts = [
        _count(judged.count(verdict), *words)
        for verdict, words in (
            (Verdict.CORRECT, ("correct", "correct")),
            (Verdict.MISSED, ("missed", "missed")),
            (Verdict.FALSE, ("false positive",)),
            (Verdict.CONFUSED, ("of another class", "of another class")),
        )
        if judged.count(verdict)
    ]
    caption = f"F1 {percent(100 * judged.f1, 0, '%')}: {', '.join(parts)}"
    pictures = image.objects_picture, image.detections_picture
    return WorstFigure(image.name, caption, *pictures, image.problem)


def _worst_note(evaluation: Evaluation, worst: Sequence[WorstImage]) -> str:
    flawed = sum(bool(image.errors) for image in evaluation.images)
    if not flawed:
        return "There is no image with an error."
    return (
        f"{len(worst)} of the {flawed:,} images with errors: lowest F1 first, and where that is "
        "equal, most errors first. Of each, the annotated objects come first and then the "
        "detections; what is wrong is filled."
    )

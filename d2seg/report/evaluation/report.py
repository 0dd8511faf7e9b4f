"""Write the evaluation page, its pictures and its numbers."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from d2seg.core.runtime.files import replace_when_complete
from d2seg.pages import write_html
from d2seg.report.evaluation.charts import score_histogram
from d2seg.report.evaluation.evaluate import evaluate
from d2seg.report.evaluation.inputs import RESULT_KEYS, read_detections, read_ground_truth
from d2seg.report.evaluation.page import build_page
from d2seg.report.evaluation.results import evaluation_results
from d2seg.report.evaluation.worst import rank_images, write_worst_images

DEFAULT_TITLE = "Evaluation"


def write_evaluation_report(
    folder: str | os.PathLike[str],
    *,
    ground_truth: str | os.PathLike[str] | COCO,
    detections: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
    image_root: str | os.PathLike[str],
    title: str = "",
    iou_type: str = "segm",
    max_pictures: int = 12,
    score_threshold: float | None = None,
) -> Path:
    """Measure detections and write ``index.html``, ``report.json`` and ``pictures/``.

    The page has COCO's average precision (pycocotools' numbers), precision-recall curves, a
    confusion matrix and the worst images; the JSON file has all numbers. ``index.html`` is written
    last, and every file is whole or not there.

    Args:
        folder: Where to write; it is made if needed.
        ground_truth: A COCO annotation file, or one that pycocotools has read; not modified.
        detections: COCO results, or the file of them that a COCOEvaluator writes; not modified.
        image_root: The folder that the file names of the annotations start from. Images that are
            not there are drawn on grey.
        title: Heading of the page.
        iou_type: ``segm`` compares masks, ``bbox`` boxes.
        max_pictures: How many of the worst images to draw.
        score_threshold: From which score on a detection counts in the confusion matrix and in the
            pictures; None for the score of highest F1.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: The annotations or the detections are not there.
        ValueError: They cannot be measured against each other, or an argument is out of range.
    """
    if iou_type not in RESULT_KEYS:
        raise ValueError(f"iou_type must be one of {', '.join(RESULT_KEYS)}; found {iou_type!r}.")
    if max_pictures < 0:
        raise ValueError(f"max_pictures must be 0 or more; found {max_pictures}.")
    folder = Path(folder)
    truth = read_ground_truth(ground_truth, iou_type)
    evaluation = evaluate(truth, read_detections(detections), iou_type, score_threshold)
    ranked = rank_images(evaluation.images)[:max_pictures]
    worst = write_worst_images(folder, ranked, truth, Path(image_root), iou_type)
    chart, histogram = score_histogram(evaluation.curve, evaluation.threshold)
    page = build_page(evaluation, chart, worst, title or DEFAULT_TITLE)
    results = evaluation_results(evaluation, histogram, worst, page.warnings)
    _write_json(folder / "report.json", results)
    # vars, not asdict: that would copy the drawings, which are marked as safe, as plain texts.
    write_html(folder / "index.html", "d2seg.report", "evaluation.html", vars(page))
    return folder / "index.html"


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")

import contextlib
import io
import json
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2seg.report.evaluation.evaluate import evaluate
from d2seg.report.evaluation.inputs import build_index, index_detections, read_ground_truth
from d2seg.report.evaluation.scores import (
    SUMMARY_NAMES,
    Measurement,
    ScoreCurve,
    f_scores,
    measure,
    score_curve,
)
from tests.conftest import ROOT
from tests.report.evaluation.scenes import BELOW, LEFT, MIDDLE, dataset, detection

NUCLEI = ROOT / "tests" / "data" / "nuclei" / "instances_val.json"
RECORDED = ROOT / "tests" / "data" / "nuclei_detectron2" / "predictions.json"


def two_of_three() -> Measurement:
    """Two objects of one class; the best and the third detection find them, the second nothing."""
    truth = build_index(dataset([(1, 1, LEFT), (1, 1, MIDDLE)], ["cat"]))
    found = [
        detection(1, 1, 0.9, LEFT),
        detection(1, 1, 0.8, BELOW),
        detection(1, 1, 0.7, MIDDLE),
    ]
    return measure(truth, index_detections(found, truth, "segm"), "segm")


def test_precision_over_recall_by_hand() -> None:
    measured = two_of_three()
    expected = [1.0 if recall <= 0.5 else 2 / 3 for recall in measured.recalls]
    for curve in measured.mean_precision():
        np.testing.assert_allclose(curve, expected, rtol=1e-12)
    ap = 100 * (51 * 1 + 50 * 2 / 3) / 101
    assert measured.summary["AP"] == pytest.approx(ap, rel=1e-12)
    assert measured.class_precision(0) == pytest.approx({"AP": ap, "AP50": ap, "AP75": ap})


def test_a_class_without_objects_is_undefined_and_left_out_of_the_mean() -> None:
    truth = build_index(dataset([(1, 1, LEFT)]))
    found = [detection(1, 1, 0.9, LEFT), detection(1, 2, 0.9, BELOW)]
    measured = measure(truth, index_detections(found, truth, "segm"), "segm")
    assert measured.class_precision(0)["AP"] == pytest.approx(100)
    assert math.isnan(measured.class_precision(1)["AP"])
    assert measured.mean_precision().min() == pytest.approx(1)


def test_the_threshold_is_where_f1_is_highest() -> None:
    curve = score_curve(two_of_three().coco_eval)
    assert curve.scores.tolist() == [0.9, 0.8, 0.7]
    assert curve.correct.tolist() == [True, False, True]
    assert curve.best_threshold() == 0.7
    assert curve.at(0.7) == pytest.approx((2 / 3, 1.0, 0.8))
    assert curve.at(0.8) == pytest.approx((1 / 2, 1 / 2, 1 / 2))
    assert curve.at(0.85) == pytest.approx((1.0, 1 / 2, 2 / 3))


def test_detections_of_one_score_are_taken_together() -> None:
    # Alone, the first would have F1 1; but no threshold separates it from the others.
    curve = ScoreCurve(np.array([0.6, 0.6, 0.6, 0.2]), np.array([True, False, False, False]), 1)
    assert curve.best_threshold() == 0.6
    assert curve.at(0.6)[2] == pytest.approx(0.5)


def test_without_a_correct_detection_all_count() -> None:
    assert ScoreCurve(np.array([0.6]), np.array([False]), 1).best_threshold() == 0
    assert ScoreCurve(np.empty(0), np.empty(0, dtype=bool), 0).best_threshold() == 0


def test_shares_are_undefined_where_there_is_nothing() -> None:
    precision, recall, f1 = f_scores(0, 0, 3)
    assert math.isnan(precision)
    assert (recall, f1) == (0, 0)
    assert all(math.isnan(share) for share in f_scores(0, 0, 0))


@cache
def nuclei_detections() -> list[dict[str, Any]]:
    images = {image["file_name"]: image["id"] for image in json.loads(NUCLEI.read_text())["images"]}
    return [
        {
            "image_id": images[found["file_name"]],
            "category_id": class_id + 1,
            "score": score,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "segmentation": mask,
        }
        for found in json.loads(RECORDED.read_text())["predictions"]
        for box, score, class_id, mask in zip(
            found["boxes"], found["scores"], found["classes"], found["masks"], strict=True
        )
    ]


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_the_figures_are_those_of_pycocotools_and_of_detectron2(iou_type: str) -> None:
    result = evaluate(read_ground_truth(NUCLEI, iou_type), nuclei_detections(), iou_type)
    other = "bbox" if iou_type == "segm" else "segmentation"
    kept = [{k: v for k, v in item.items() if k != other} for item in nuclei_detections()]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(NUCLEI))
        reference = COCOeval(truth, truth.loadRes(kept), iou_type)
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    expected = {n: 100 * v for n, v in zip(SUMMARY_NAMES, reference.stats, strict=True) if v > -1}
    summary = result.measurement.summary
    assert {name: summary[name] for name in expected} == expected
    assert result.measurement.class_precision(0)["AP"] == expected["AP"]
    recorded = json.loads(RECORDED.read_text())["average_precision"][iou_type]
    assert summary["AP"] == recorded["AP"]
    assert summary["AP50"] == recorded["AP50"]
    # The matrix and the curve count the same hits.
    _, recall, _ = result.curve.at(result.threshold)
    assert result.matrix[0, 0] == round(recall * result.curve.num_objects)

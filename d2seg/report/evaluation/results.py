"""The evaluation as JSON."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from d2seg.report.evaluation.evaluate import ClassFigures, Evaluation
from d2seg.report.evaluation.matching import JudgedImage, Verdict
from d2seg.report.evaluation.scores import MATCH_INDEX, MATCH_IOU
from d2seg.report.evaluation.worst import WorstImage


def evaluation_results(
    evaluation: Evaluation,
    histogram: dict[str, list[float]],
    worst: Sequence[WorstImage],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Put everything that was measured into one dict for ``json.dump``.

    Average precision and the figures of classes are in percent, as a COCOEvaluator gives them;
    curves, ``precision``, ``recall`` and ``f1`` of scores and images are in 0..1. What is undefined
    is None.

    Args:
        evaluation: What was measured.
        histogram: The numbers of the score histogram.
        worst: The images that were drawn.
        warnings: What a reader should know first.
    """
    precision, recall, f1 = evaluation.curve.at(evaluation.threshold)
    return {
        "iou_type": evaluation.iou_type,
        "warnings": list(warnings),
        "counts": _counts(evaluation),
        "average_precision": _plain(evaluation.measurement.summary),
        "classes": [_class_dict(one) for one in evaluation.class_figures()],
        "precision_recall": _curves(evaluation),
        "threshold": {
            "score": evaluation.threshold,
            "best_f1": evaluation.threshold_is_best,
            "iou": MATCH_IOU,
            "precision": _plain(precision),
            "recall": _plain(recall),
            "f1": _plain(f1),
        },
        "confusion_matrix": {
            "rows_are": "annotated",
            "columns_are": "detected",
            "classes": [*evaluation.class_names, "background"],
            "counts": evaluation.matrix.tolist(),
        },
        "score_histogram": histogram,
        "images": [_image_dict(image, evaluation) for image in evaluation.images],
        "worst_images": [_worst_dict(image) for image in worst],
    }


def _counts(evaluation: Evaluation) -> dict[str, int]:
    annotations = evaluation.ground_truth.anns.values()
    crowds = sum(bool(annotation["iscrowd"]) for annotation in annotations)
    return {
        "images": len(evaluation.images),
        "objects": evaluation.curve.num_objects,
        "crowds": crowds,
        "classes": len(evaluation.class_names),
        "detections": len(evaluation.measurement.coco_eval.cocoDt.anns),
        "detections_from_threshold": int((evaluation.curve.scores >= evaluation.threshold).sum()),
    }


def _class_dict(figures: ClassFigures) -> dict[str, Any]:
    names = {"ap": "AP", "ap50": "AP50", "ap75": "AP75"}
    return {names.get(key, key): _plain(value) for key, value in figures._asdict().items()}


def _curves(evaluation: Evaluation) -> dict[str, Any]:
    measurement = evaluation.measurement
    mean = measurement.mean_precision()
    return {
        "recall": measurement.recalls.tolist(),
        "mean_by_iou": {
            f"{threshold:.2f}": _plain(curve.tolist())
            for threshold, curve in zip(measurement.iou_thresholds, mean, strict=True)
        },
        "by_class_at_iou_0.50": [
            {"id": id_, "precision": _plain(measurement.precision[MATCH_INDEX, :, index].tolist())}
            for index, id_ in enumerate(measurement.category_ids)
        ],
    }


def _image_dict(image: JudgedImage, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "id": _plain(image.image_id),
        "file_name": evaluation.ground_truth.imgs[image.image_id]["file_name"],
        "f1": _plain(image.f1),
        "correct": image.count(Verdict.CORRECT),
        "wrong_class": image.count(Verdict.CONFUSED),
        "missed": image.count(Verdict.MISSED),
        "false_positives": image.count(Verdict.FALSE),
    }


def _worst_dict(image: WorstImage) -> dict[str, Any]:
    return {
        "id": _plain(image.judged.image_id),
        "file_name": image.name,
        "ground_truth_picture": image.objects_picture,
        "detections_picture": image.detections_picture,
        "problem": image.problem or None,
    }


def _plain(value: Any) -> Any:
    """Replace nan, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value.item() if isinstance(value, np.generic) else value

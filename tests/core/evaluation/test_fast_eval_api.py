"""The fast evaluation must agree with pycocotools' own in every number."""

import contextlib
import copy
import io
import sys
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2seg.core.evaluation.fast_eval_api import COCOeval_opt, fastest_evaluation

ANNOTATIONS = [(1, 1, [5, 5, 20, 30]), (1, 2, [40, 10, 30, 10]), (2, 1, [0, 0, 50, 60])]
DETECTIONS = [
    (1, 1, [6, 5, 20, 30], 0.9),
    (1, 3, [40, 10, 30, 10], 0.8),
    (2, 1, [0, 0, 50, 45], 0.7),
    (2, 1, [60, 0, 20, 20], 0.95),
]


def truth() -> COCO:
    api = COCO()
    api.dataset = {
        "info": {},
        "images": [{"id": i, "height": 80, "width": 100} for i in (1, 2, 3)],
        "categories": [{"id": i, "name": str(i)} for i in (1, 2, 3)],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": box, "iscrowd": 0}
            | {"area": box[2] * box[3]}
            for i, (image, category, box) in enumerate(ANNOTATIONS, 1)
        ],
    }
    api.createIndex()
    return api


def evaluated(kind: type[COCOeval], params: dict[str, Any]) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        api = truth()
        found = [
            {"image_id": image, "category_id": category, "bbox": list(box), "score": score}
            for image, category, box, score in DETECTIONS
        ]
        evaluation = kind(api, api.loadRes(copy.deepcopy(found)), "bbox")
        for name, value in params.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


@pytest.mark.parametrize("params", [{}, {"useCats": 0}, {"maxDets": [1]}, {"iouThrs": []}])
def test_numbers_are_those_of_pycocotools(params: dict[str, Any]) -> None:
    slow, fast = evaluated(COCOeval, params), evaluated(COCOeval_opt, params)
    for key in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(fast.eval[key], slow.eval[key])
    assert [e is None for e in fast.evalImgs] == [e is None for e in slow.evalImgs]


def test_the_numbers_are_not_trivial() -> None:
    precision = evaluated(COCOeval_opt, {}).eval["precision"]
    assert 0 < precision[precision > -1].mean() < 1


def test_the_fastest_evaluation_gives_the_same_numbers() -> None:
    kind = fastest_evaluation("bbox")
    slow, fast = evaluated(COCOeval, {}), evaluated(kind, {})
    for key in ("precision", "recall"):
        np.testing.assert_allclose(fast.eval[key], slow.eval[key], rtol=0, atol=1e-12)


def test_faster_coco_eval_is_used_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("faster_coco_eval")
    assert fastest_evaluation("segm") is package.COCOeval_faster
    assert fastest_evaluation("keypoints") is COCOeval_opt
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)  # as if it were not installed
    assert fastest_evaluation("segm") is COCOeval_opt

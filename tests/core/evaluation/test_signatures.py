"""Names, arguments and defaults that programs written for detectron2 rely on."""

import inspect
from typing import Any

import pytest

from d2seg.core import evaluation
from d2seg.core.evaluation import coco_evaluation, fast_eval_api, rotated_coco_evaluation

_COCO = (
    "dataset_name, tasks=None, distributed=True, output_dir=None, *, max_dets_per_image=None, "
    "use_fast_impl=True, kpt_oks_sigmas=(), allow_cached_coco=True"
)
SIGNATURES = [
    (evaluation.COCOEvaluator, _COCO),
    (evaluation.COCOEvaluator.evaluate, "self, img_ids=None"),
    (evaluation.RotatedCOCOEvaluator, _COCO),
    (evaluation.RotatedCOCOEvaluator.instances_to_json, "self, instances, img_id"),
    (rotated_coco_evaluation.RotatedCOCOeval, "cocoGt=None, cocoDt=None, iouType='segm'"),
    (fast_eval_api.COCOeval_opt, "cocoGt=None, cocoDt=None, iouType='segm'"),
    (coco_evaluation.instances_to_coco_json, "instances, img_id"),
    (evaluation.LVISEvaluator, "dataset_name, tasks=None, distributed=True, output_dir=None, *, "
     "max_dets_per_image=None"),
    (evaluation.COCOPanopticEvaluator, "dataset_name, output_dir=None"),
    (evaluation.PascalVOCDetectionEvaluator, "dataset_name"),
    (evaluation.CityscapesInstanceEvaluator, "dataset_name"),
    (evaluation.CityscapesSemSegEvaluator, "dataset_name"),
    (evaluation.DatasetEvaluators, "evaluators"),
    (evaluation.DatasetEvaluator.process, "self, inputs, outputs"),
    (evaluation.inference_context, "model"),
    (evaluation.inference_on_dataset, "model, data_loader, evaluator, callbacks=None"),
    (evaluation.print_csv_format, "results"),
    (evaluation.verify_results, "cfg, results"),
    (evaluation.testing.flatten_results_dict, "results"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "expected"), SIGNATURES)
def test_arguments_are_those_of_detectron2(what: Any, expected: str) -> None:
    signature = inspect.signature(what)
    plain = [
        one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()
    ]
    found = signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)
    assert str(found) == f"({expected})"

"""Measuring predictions against annotations."""

from d2seg.core.evaluation.cityscapes_evaluation import (
    CityscapesInstanceEvaluator,
    CityscapesSemSegEvaluator,
)
from d2seg.core.evaluation.coco_evaluation import COCOEvaluator, instances_to_coco_json
from d2seg.core.evaluation.evaluator import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_context,
    inference_on_dataset,
)
from d2seg.core.evaluation.fast_eval_api import COCOeval_opt
from d2seg.core.evaluation.lvis_evaluation import LVISEvaluator
from d2seg.core.evaluation.panoptic_evaluation import COCOPanopticEvaluator
from d2seg.core.evaluation.pascal_voc_evaluation import PascalVOCDetectionEvaluator
from d2seg.core.evaluation.rotated_coco_evaluation import RotatedCOCOEvaluator
from d2seg.core.evaluation.sem_seg_evaluation import SemSegEvaluator
from d2seg.core.evaluation.testing import (
    flatten_results_dict,
    print_csv_format,
    verify_results,
)

__all__ = [
    "COCOEvaluator",
    "COCOPanopticEvaluator",
    "COCOeval_opt",
    "CityscapesInstanceEvaluator",
    "CityscapesSemSegEvaluator",
    "DatasetEvaluator",
    "DatasetEvaluators",
    "LVISEvaluator",
    "PascalVOCDetectionEvaluator",
    "RotatedCOCOEvaluator",
    "SemSegEvaluator",
    "flatten_results_dict",
    "inference_context",
    "inference_on_dataset",
    "instances_to_coco_json",
    "print_csv_format",
    "verify_results",
]

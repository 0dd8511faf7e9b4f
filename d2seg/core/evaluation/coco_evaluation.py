"""COCO's average precision of boxes, masks and keypoints, and average recall of proposals."""

import itertools
import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pycocotools.cocoeval import COCOeval

from d2seg.core.config import CfgNode
from d2seg.core.data.catalog import MetadataCatalog
from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.evaluation.coco_comparison import compare_with_truth
from d2seg.core.evaluation.coco_json import (
    RESULT_KEYS,
    instances_to_coco_json,
    results_of_task,
    write_json,
)
from d2seg.core.evaluation.coco_metrics import METRICS, average_precisions
from d2seg.core.evaluation.coco_truth import dataset_category_ids, load_truth
from d2seg.core.evaluation.collect import collect_lists
from d2seg.core.evaluation.evaluator import DatasetEvaluator, Outputs
from d2seg.core.evaluation.fast_eval_api import fastest_evaluation
from d2seg.core.evaluation.proposal_recall import proposal_metrics, write_proposals
from d2seg.core.evaluation.tables import metrics_table, per_class_table
from d2seg.core.runtime.files import replace_when_complete
from d2seg.core.runtime.serialize import torch_bytes

__all__ = ["COCOEvaluator", "instances_to_coco_json"]

logger = logging.getLogger(__name__)

_DEFAULT_MAX_DETS = 100
_CPU = torch.device("cpu")


class COCOEvaluator(DatasetEvaluator):
    """Average precision of instances and average recall of proposals, as COCO defines them.

    Works for any data set; one that has no annotation file is written as one. Masks are compressed
    as they come in, so that a whole data set fits into memory.
    """

    _known_tasks: tuple[str, ...] = tuple(METRICS)
    _results_file = "coco_instances_results.json"

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | CfgNode | None = None,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        max_dets_per_image: int | None = None,
        use_fast_impl: bool = True,
        kpt_oks_sigmas: Sequence[float] = (),
        allow_cached_coco: bool = True,
    ) -> None:
        """Read the annotations.

        Args:
            dataset_name: A registered data set.
            tasks: Some of ``bbox``, ``segm`` and ``keypoints``; None for what the predictions
                have. A whole config is deprecated; its ``TEST.KEYPOINT_OKS_SIGMAS`` is used.
            distributed: Collect the predictions of all processes; otherwise only those of this one.
            output_dir: The folder for ``coco_instances_results.json`` (COCO's format),
                ``instances_predictions.pth`` (what was processed, for ``torch.load``) and
                ``box_proposals.pkl``; None to write nothing.
            max_dets_per_image: How many boxes or masks of an image count, best first; 100 when
                None. Keypoints always count 20, as COCO has it.
            use_fast_impl: Measure with the package faster-coco-eval where it is installed; the
                numbers are the same but for the rounding of their 16th digit.
            kpt_oks_sigmas: For each keypoint how far annotators disagree; empty for COCO's 17.
            allow_cached_coco: Use ``<dataset_name>_coco_format.json`` in the output folder, written
                for a data set without annotation file, if it is there already.

        Raises:
            ValueError: A task is unknown, or the data set has no annotation file and there is no
                output folder.
            FileNotFoundError: The annotation file is missing.
        """
        if isinstance(tasks, CfgNode):
            logger.warning("COCOEvaluator(name, cfg) is deprecated; give tasks instead of cfg.")
            kpt_oks_sigmas, tasks = kpt_oks_sigmas or tasks.TEST.KEYPOINT_OKS_SIGMAS, None
        if isinstance(tasks, str) or not set(tasks or ()) <= set(self._known_tasks):
            raise InvalidArgumentError(
                f"{type(self).__name__} measures a list of the tasks "
                f"{', '.join(self._known_tasks)}; found {tasks!r}."
            )
        self._tasks = None if tasks is None else tuple(tasks)
        self._distributed = distributed
        self._output_dir = output_dir
        self._max_dets = max_dets_per_image or _DEFAULT_MAX_DETS
        self._use_fast_impl = use_fast_impl
        self._kpt_oks_sigmas = tuple(kpt_oks_sigmas)
        self._metadata = MetadataCatalog.get(dataset_name)
        self._coco_api = load_truth(self._metadata, output_dir, allow_cached_coco)
        self._do_evaluation = "annotations" in self._coco_api.dataset
        self._predictions: list[dict[str, Any]] = []
        self._results: OrderedDict[str, dict[str, float]] = OrderedDict()
        # For classes derived from this one, which programs written for detectron2 bring along.
        self._cpu_device = _CPU
        self._logger = logger

    def reset(self) -> None:
        """Forget all predictions."""
        self._predictions = []

    def process(self, inputs: Outputs, outputs: Outputs) -> None:
        """Take the predictions for some images.

        Args:
            inputs: One dict per image, with its ``image_id``.
            outputs: One dict per image, with ``instances`` or ``proposals``, or both, in pixels of
                the original image.

        Raises:
            KeyError: An image has no ``image_id``.
        """
        for image, output in zip(inputs, outputs, strict=True):
            if "image_id" not in image:
                raise KeyError(
                    f"An image of data set '{self._metadata.name}' has no image_id; its dict has "
                    f"{', '.join(image)}. Let the data set's function give each image one."
                )
            prediction = {"image_id": image["image_id"]}
            if "instances" in output:
                instances = output["instances"].to(_CPU)
                prediction["instances"] = self.instances_to_json(instances, image["image_id"])
            if "proposals" in output:
                prediction["proposals"] = output["proposals"].to(_CPU)
            if len(prediction) > 1:
                self._predictions.append(prediction)

    def instances_to_json(self, instances: Any, img_id: Any) -> list[dict[str, Any]]:
        """Turn the detections of an image into COCO's result format."""
        return instances_to_coco_json(instances, img_id)

    def evaluate(self, img_ids: Sequence[Any] | None = None) -> dict[str, dict[str, float]]:
        """Measure, and write the predictions to the output folder.

        Args:
            img_ids: The images to count; None for all that are annotated.

        Returns:
            For each task ``AP``, ``AP50``, ``AP75``, ``APs`` (not for keypoints), ``APm``, ``APl``
            in percent (nan where there is nothing to measure) and, with several classes,
            ``AP-<class name>``; for ``box_proposals`` ``AR@100``, ``ARs@100`` ... ``ARl@1000``.
            Empty if no image was processed, and in processes other than the first.

        Raises:
            ValueError: A prediction has a class or an image that the data set does not have (which
                is an AssertionError, too), or another number of keypoints.
        """
        predictions = collect_lists(self._predictions, self._distributed)
        if predictions is None:
            return {}
        if not predictions:
            logger.warning("COCOEvaluator was given no image; there is nothing to evaluate.")
            return {}
        if self._output_dir is not None:
            target = os.path.join(self._output_dir, "instances_predictions.pth")
            with replace_when_complete(target) as path:
                path.write_bytes(torch_bytes(predictions))
        self._results = OrderedDict()
        if any("proposals" in prediction for prediction in predictions):
            self._eval_box_proposals([p for p in predictions if "proposals" in p])
        if any("instances" in prediction for prediction in predictions):
            self._eval_predictions(predictions, img_ids=img_ids)
        # Callers may change what they get.
        return OrderedDict((task, dict(metrics)) for task, metrics in self._results.items())

    def _tasks_from_predictions(self, results: list[dict[str, Any]]) -> list[str]:
        return [
            "bbox",
            *(t for t in ("keypoints", "segm") if any(RESULT_KEYS[t] in r for r in results)),
        ]

    def _eval_box_proposals(self, predictions: list[dict[str, Any]]) -> None:
        if self._output_dir is not None:
            write_proposals(predictions, self._output_dir)
        if self._do_evaluation:
            metrics = proposal_metrics(predictions, self._coco_api)
            logger.info("Proposals:\n%s", metrics_table(metrics))
            self._results["box_proposals"] = metrics

    def _eval_predictions(
        self, predictions: list[dict[str, Any]], img_ids: Sequence[Any] | None = None
    ) -> None:
        """Write the instances of all images, and measure each task into ``_results``."""
        found = itertools.chain.from_iterable(p.get("instances", []) for p in predictions)
        results = self._with_dataset_categories(list(found))
        write_json(results, self._output_dir, self._results_file)
        if not self._do_evaluation:
            logger.info("'%s' has no annotations; not evaluated.", self._metadata.name)
            return
        for task in sorted(self._tasks or self._tasks_from_predictions(results)):
            of_task = results_of_task(task, results)
            coco_eval = self._compare(task, of_task, img_ids) if of_task else None
            self._results[task] = self._derive_coco_results(coco_eval, task, self._class_names())

    def _compare(
        self, task: str, results: list[dict[str, Any]], img_ids: Sequence[Any] | None
    ) -> Any:
        return compare_with_truth(
            self._coco_api,
            results,
            task,
            kind=self._evaluation_class(task),
            max_dets=self._max_dets,
            kpt_oks_sigmas=self._kpt_oks_sigmas,
            img_ids=img_ids,
        )

    def _with_dataset_categories(self, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Replace contiguous classes by the category ids of the annotation file."""
        dataset_ids = dataset_category_ids(self._metadata, self._coco_api)
        for class_id in {result["category_id"] for result in results} - set(dataset_ids):
            raise InvalidArgumentError(
                f"A prediction has class {class_id}, but data set '{self._metadata.name}' has "
                f"{len(dataset_ids)} classes; check MODEL.ROI_HEADS.NUM_CLASSES."
            )
        return [{**r, "category_id": dataset_ids[r["category_id"]]} for r in results]

    def _class_names(self) -> list[str]:
        """Return the name of each category of the annotation file, by rising id."""
        names = self._metadata.get("thing_classes") or []
        known = {
            id_: names[index]
            for index, id_ in dataset_category_ids(self._metadata, self._coco_api).items()
            if index < len(names)
        }
        categories = self._coco_api.cats
        return [known.get(id_, categories[id_]["name"]) for id_ in sorted(categories)]

    def _evaluation_class(self, task: str) -> type:
        return fastest_evaluation(task) if self._use_fast_impl else COCOeval

    def _derive_coco_results(
        self, coco_eval: Any, iou_type: str, class_names: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Return the metrics of a task by name; nan for each if there is nothing to measure."""
        if coco_eval is None:
            logger.warning("There are no predictions for the task '%s'.", iou_type)
            return dict.fromkeys(METRICS[iou_type], float("nan"))
        # [T,R,K,A,M]; the last limit of detections is the largest.
        precision = np.asarray(coco_eval.eval["precision"])[..., -1]
        metrics = average_precisions(precision, coco_eval.params, iou_type, class_names)
        logger.info("%s:\n%s", iou_type, metrics_table(metrics))
        if by_class := per_class_table(metrics):
            logger.info("%s by class:\n%s", iou_type, by_class)
        return metrics

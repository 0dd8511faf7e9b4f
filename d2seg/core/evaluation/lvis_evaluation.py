"""Average precision of boxes and masks on LVIS."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from d2seg.core.evaluation.coco_comparison import require_known_images
from d2seg.core.evaluation.coco_evaluation import COCOEvaluator
from d2seg.core.evaluation.coco_metrics import average_precisions, mean_percent
from d2seg.core.evaluation.lvis_precision import best_of_each_image, federated_precision
from d2seg.core.evaluation.tables import metrics_table

__all__ = ["LVISEvaluator"]

logger = logging.getLogger(__name__)

_DEFAULT_MAX_DETS = 300
_FREQUENCIES = ("r", "c", "f")
"""Rare, common and frequent, as the annotation file has them."""


class LVISEvaluator(COCOEvaluator):
    """Average precision of instances and average recall of proposals, as LVIS defines them.

    An image is annotated for some categories only; the others do not count there. The package lvis
    is not needed (it does not run on current NumPy); the numbers are its own.
    """

    _known_tasks = ("bbox", "segm")
    _results_file = "lvis_instances_results.json"

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        max_dets_per_image: int | None = None,
    ) -> None:
        """Read the annotations.

        Args:
            dataset_name: A data set that ``register_lvis_instances`` registered.
            tasks: ``bbox``, ``segm`` or both; None for what the predictions have.
            distributed: Collect the predictions of all processes; otherwise only those of this one.
            output_dir: The folder for ``lvis_instances_results.json``,
                ``instances_predictions.pth`` and ``box_proposals.pkl``; None to write nothing.
            max_dets_per_image: How many detections of an image count, best first; 300 when None,
                all when negative.

        Raises:
            ValueError: A task is unknown, or the data set has no annotation file in LVIS's format.
            FileNotFoundError: The annotation file is missing.
        """
        super().__init__(dataset_name, tasks, distributed, output_dir)
        if max_dets_per_image is None:
            max_dets_per_image = _DEFAULT_MAX_DETS
        self._max_dets = max_dets_per_image
        if self._do_evaluation:
            self._require_lvis_format()

    def _require_lvis_format(self) -> None:
        for image in self._coco_api.imgs.values():
            if "neg_category_ids" not in image:
                raise ValueError(
                    f"The annotation file of data set '{self._metadata.name}' is not in LVIS's "
                    f"format: image {image['id']} has no neg_category_ids. Use COCOEvaluator."
                )

    def _compare(
        self, task: str, results: list[dict[str, Any]], img_ids: Sequence[Any] | None
    ) -> Any:
        if img_ids is not None:
            raise ValueError("LVISEvaluator always measures all images; leave img_ids out.")
        require_known_images(self._coco_api, results)
        best = best_of_each_image(results, self._max_dets)
        return federated_precision(self._coco_api, best, task)

    def _derive_coco_results(
        self, coco_eval: Any, iou_type: str, class_names: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Return the metrics of a task by name; nan for each if there is nothing to measure."""
        by_frequency = {f"AP{frequency}": float("nan") for frequency in _FREQUENCIES}
        if coco_eval is None:
            return super()._derive_coco_results(None, iou_type) | by_frequency
        precision, params = coco_eval
        categories = [self._coco_api.cats[id_] for id_ in sorted(self._coco_api.cats)]
        frequency = np.array([category.get("frequency", "") for category in categories])
        metrics = average_precisions(precision, params, iou_type)
        for letter in _FREQUENCIES:
            metrics[f"AP{letter}"] = mean_percent(precision[:, :, frequency == letter, 0])
        logger.info("%s:\n%s", iou_type, metrics_table(metrics))
        return metrics

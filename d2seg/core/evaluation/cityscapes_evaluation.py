"""Evaluation of instances and of semantic segmentation on Cityscapes."""

import logging
import os
from collections import OrderedDict, defaultdict
from typing import Any

import numpy as np

from d2seg.core.data.catalog import MetadataCatalog
from d2seg.core.data.datasets.cityscapes_labels import INSTANCE_LABELS
from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.data.images import read_image
from d2seg.core.evaluation.cityscapes_instances import (
    IOU_THRESHOLDS,
    Outcomes,
    average_precision,
    compare_instances,
)
from d2seg.core.evaluation.cityscapes_semantics import SemanticCounts
from d2seg.core.evaluation.collect import collect
from d2seg.core.evaluation.evaluator import DatasetEvaluator, Outputs
from d2seg.core.evaluation.tables import metrics_table, per_class_table

__all__ = [
    "CityscapesEvaluator",
    "CityscapesInstanceEvaluator",
    "CityscapesSemSegEvaluator",
]

logger = logging.getLogger(__name__)

_IMAGE_SUFFIX = "_leftImg8bit.png"


class CityscapesEvaluator(DatasetEvaluator):
    """What the evaluations of Cityscapes share: the annotation of an image.

    The package cityscapesscripts is not needed (it does not run on current NumPy); the numbers are
    its own. Each image is compared when it comes in, in the process that it comes to.
    """

    def __init__(self, dataset_name: str) -> None:
        """Prepare.

        Args:
            dataset_name: A data set with ``gt_dir`` in its metadata, such as
                ``cityscapes_fine_instance_seg_val``.
        """
        self._metadata = MetadataCatalog.get(dataset_name)
        self._gt_dir = self._metadata.gt_dir
        self.reset()

    def _read_truth(self, file_name: str, size_hw: tuple[int, ...]) -> np.ndarray:
        """Read the instance ids (H, W) int64 of an image, and compare their size."""
        name = os.path.basename(file_name).removesuffix(_IMAGE_SUFFIX)
        city = name.split("_")[0]
        truth_file = os.path.join(self._gt_dir, city, f"{name}_gtFine_instanceIds.png")
        truth_ids = read_image(truth_file).astype(np.int64)
        if truth_ids.shape != tuple(size_hw):
            raise ValueError(
                f"'{truth_file}' has the size {truth_ids.shape}, but the prediction for its image "
                f"{tuple(size_hw)}; predict at the size of the annotations."
            )
        return truth_ids


class CityscapesInstanceEvaluator(CityscapesEvaluator):
    """Average precision of masks, as Cityscapes defines it."""

    def reset(self) -> None:
        """Forget all predictions."""
        self._outcomes: dict[int, Outcomes] = {label.id: Outcomes() for label in INSTANCE_LABELS}

    def process(self, inputs: Outputs, outputs: Outputs) -> None:
        """Compare the predictions for some images with their annotations.

        Args:
            inputs: One dict per image, with its ``file_name``.
            outputs: One dict per image, with ``instances`` that have ``pred_masks`` (N, H, W),
                ``scores`` and ``pred_classes``, in pixels of the original image.

        Raises:
            FileNotFoundError: The annotation of an image is missing.
            ValueError: A class is none of Cityscapes' with instances, or a size differs.
        """
        for image, output in zip(inputs, outputs, strict=True):
            instances = output["instances"]
            truth_ids = self._read_truth(image["file_name"], instances.image_size)
            label_ids = np.array([self._label_id(c) for c in instances.pred_classes.tolist()], int)
            masks = instances.pred_masks.cpu().numpy()
            scores = np.array(instances.scores.tolist())
            for label_id, outcomes in self._outcomes.items():
                chosen = label_ids == label_id
                found = compare_instances(
                    truth_ids, label_id, masks[chosen], scores[chosen].tolist()
                )
                outcomes.add(found)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Measure.

        Returns:
            ``segm``: ``AP`` (the mean of overlaps 0.50, 0.55, ... 0.95) and ``AP50``, the means of
            all classes that are annotated, in percent. Empty in processes other than the first.
        """
        parts = collect(self._outcomes)
        if not parts:
            return {}
        total: dict[int, Outcomes] = defaultdict(Outcomes)
        for part in parts:
            for label_id, outcomes in part.items():
                total[label_id].add(outcomes)
        # [label, threshold]
        table = np.array(
            [
                [average_precision(one.verdicts[t], one.num_objects) for t in IOU_THRESHOLDS]
                for one in (total[label.id] for label in INSTANCE_LABELS)
            ]
        )
        annotated = table[~np.isnan(table[:, 0])]
        metrics = {"AP": _mean_percent(annotated), "AP50": _mean_percent(annotated[:, :1])}
        by_class = {
            f"AP-{label.name}": _mean_percent(row)
            for label, row in zip(INSTANCE_LABELS, table, strict=True)
        }
        logger.info("segm:\n%s\n%s", metrics_table(metrics), per_class_table(by_class))
        return OrderedDict(segm=metrics)

    def _label_id(self, class_id: int) -> int:
        names = self._metadata.thing_classes
        name = names[class_id] if 0 <= class_id < len(names) else None
        for label in INSTANCE_LABELS:
            if label.name == name:
                return label.id
        raise InvalidArgumentError(
            f"A prediction has class {class_id} ({name}), which Cityscapes has no instances of; "
            "check MODEL.ROI_HEADS.NUM_CLASSES."
        )


class CityscapesSemSegEvaluator(CityscapesEvaluator):
    """Intersection over union of classes and categories, plain and weighted by instance."""

    def reset(self) -> None:
        """Forget all predictions."""
        self._counts = SemanticCounts()

    def process(self, inputs: Outputs, outputs: Outputs) -> None:
        """Compare the predictions for some images with their annotations.

        Args:
            inputs: One dict per image, with its ``file_name``.
            outputs: One dict per image, with ``sem_seg`` (C, H, W) by train id, whose largest value
                wins.

        Raises:
            FileNotFoundError: The annotation of an image is missing.
            ValueError: A prediction is no train id, or a size differs.
        """
        for image, output in zip(inputs, outputs, strict=True):
            predicted = output["sem_seg"].argmax(dim=0).cpu().numpy()
            self._counts.count(self._read_truth(image["file_name"], predicted.shape), predicted)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Measure.

        Returns:
            ``sem_seg``: ``IoU``, ``iIoU``, ``IoU_sup`` and ``iIoU_sup``, in percent. Empty in
            processes other than the first.
        """
        parts = collect(self._counts)
        if not parts:
            return {}
        total = SemanticCounts()
        total.add(parts)
        metrics = total.metrics()
        logger.info("sem_seg:\n%s", metrics_table(metrics))
        return OrderedDict(sem_seg=metrics)


def _mean_percent(values: Any) -> float:
    return 100 * float(np.mean(values)) if np.size(values) else float("nan")

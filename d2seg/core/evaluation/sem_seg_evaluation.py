"""Intersection over union and accuracy of semantic segmentation."""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from d2seg.core.data.catalog import DatasetCatalog, Metadata, MetadataCatalog
from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.data.images import read_image
from d2seg.core.evaluation.coco_json import encode_mask, write_json
from d2seg.core.evaluation.collect import collect
from d2seg.core.evaluation.evaluator import DatasetEvaluator, Outputs
from d2seg.core.evaluation.sem_seg_metrics import boundary_map, count_pairs, sem_seg_metrics
from d2seg.core.evaluation.tables import metrics_table

__all__ = ["SemSegEvaluator", "load_image_into_numpy_array"]

logger = logging.getLogger(__name__)


def load_image_into_numpy_array(
    filename: str | os.PathLike[str], copy: bool = False, dtype: DTypeLike | None = None
) -> np.ndarray:
    """Read a label map.

    Args:
        filename: A path or an address the PathManager knows.
        copy: Return an array of its own, which may be written to.
        dtype: What to convert to; None keeps what the file holds.

    Returns:
        (H, W) labels, or (H, W, channels) if the file has several.
    """
    labels = read_image(filename)
    return np.array(labels, dtype=dtype) if copy else np.asarray(labels, dtype=dtype)


class SemSegEvaluator(DatasetEvaluator):
    """Intersection over union and accuracy of each class and on average.

    Pixels with the ignored label count nowhere, whatever was predicted there; classes that the
    annotations never have are left out of the averages.
    """

    def __init__(
        self,
        dataset_name: str,
        distributed: bool = True,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        sem_seg_loading_fn: Callable[..., np.ndarray] = load_image_into_numpy_array,
        num_classes: int | None = None,
        ignore_label: int | None = None,
    ) -> None:
        """Find the label maps of the data set.

        Args:
            dataset_name: A registered data set with ``sem_seg_file_name`` and ``stuff_classes``.
            distributed: Sum over all processes; otherwise measure what this one has seen.
            output_dir: The folder for ``sem_seg_predictions.json``; None to write nothing.
            sem_seg_loading_fn: Reads a label map, called with its name and ``dtype``.
            num_classes: Deprecated; the metadata's ``stuff_classes`` say it.
            ignore_label: Deprecated; the metadata's ``ignore_label`` says it.

        Raises:
            ValueError: The metadata has no classes, or other than ``num_classes`` of them.
        """
        metadata = MetadataCatalog.get(dataset_name)
        self._class_names = _class_names(metadata, num_classes)
        self._ignore_label = metadata.get("ignore_label") if ignore_label is None else ignore_label
        if num_classes is not None or ignore_label is not None:
            logger.warning(
                "SemSegEvaluator's num_classes and ignore_label are deprecated; set stuff_classes "
                "and ignore_label in the metadata of '%s'.",
                dataset_name,
            )
        self._distributed = distributed
        self._output_dir = output_dir
        self._load = sem_seg_loading_fn
        contiguous = metadata.get("stuff_dataset_id_to_contiguous_id") or {}
        self._dataset_ids = {index: id_ for id_, index in contiguous.items()}
        self._label_files = {
            image["file_name"]: image["sem_seg_file_name"]
            for image in DatasetCatalog.get(dataset_name)
        }
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        size = len(self._class_names)
        self._counts = np.zeros((size, size), np.int64)
        self._boundary_counts = np.zeros((size + 1, size + 1), np.int64)
        self._predictions: list[dict[str, Any]] = []

    def process(self, inputs: Outputs, outputs: Outputs) -> None:
        """Take the predictions for some images.

        Args:
            inputs: One dict per image, with the ``file_name`` that the data set has.
            outputs: One dict per image, with ``sem_seg`` (C, H, W), whose largest value wins.

        Raises:
            KeyError: The data set has no such image.
            ValueError: A label map has another size, or a label that is no class.
        """
        for image, output in zip(inputs, outputs, strict=True):
            file_name = image["file_name"]
            if file_name not in self._label_files:
                raise KeyError(f"The data set that is evaluated has no image '{file_name}'.")
            predicted = output["sem_seg"].argmax(dim=0).cpu().numpy().astype(np.int64)
            self._count(predicted, self._label_files[file_name])
            if self._output_dir is not None:
                self._predictions += self.encode_json_sem_seg(predicted, file_name)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Measure, and write the predictions to the output folder.

        Returns:
            ``sem_seg``: ``mIoU``, ``fwIoU`` (weighted by how often a class occurs), ``IoU-<class
            name>``, ``BoundaryIoU-<class name>`` (arXiv:2103.16562) and the lesser of the two,
            ``mACC``, ``pACC`` (of all pixels) and ``ACC-<class name>``, in percent; nan where there
            is nothing to measure. Empty in processes other than the first.
        """
        parts = collect((self._counts, self._boundary_counts, self._predictions), self._distributed)
        if not parts:
            return {}
        predictions = [prediction for part in parts for prediction in part[2]]
        write_json(predictions, self._output_dir, "sem_seg_predictions.json")
        metrics = sem_seg_metrics(
            np.sum([part[0] for part in parts], axis=0),
            np.sum([part[1] for part in parts], axis=0),
            self._class_names,
        )
        logger.info("sem_seg:\n%s", metrics_table(metrics))
        return OrderedDict(sem_seg=metrics)

    def encode_json_sem_seg(
        self, sem_seg: np.ndarray, input_file_name: str
    ) -> list[dict[str, Any]]:
        """Turn a label map into one compressed mask per class.

        Args:
            sem_seg: (H, W) int, contiguous classes.
            input_file_name: The image.

        Returns:
            One dict per class that occurs: ``file_name``, ``category_id`` (of the data set) and
            ``segmentation`` as compressed RLE.
        """
        return [
            {
                "file_name": input_file_name,
                "category_id": self._dataset_ids.get(label, label),
                "segmentation": encode_mask(sem_seg == label),
            }
            for label in np.unique(sem_seg).tolist()
        ]

    def _count(self, predicted: np.ndarray, label_file: str) -> None:
        labels = np.asarray(self._load(label_file, dtype=np.int64))
        if labels.shape != predicted.shape:
            raise ValueError(
                f"'{label_file}' has the size {labels.shape}, but the prediction for its image has "
                f"{predicted.shape}; predict at the size of the annotations."
            )
        counted = np.ones(labels.shape, bool)
        if self._ignore_label is not None:
            counted = labels != self._ignore_label
        size = len(self._class_names)
        self._require_classes(labels[counted], f"'{label_file}'")
        self._require_classes(predicted[counted], "A prediction")
        self._counts += count_pairs(labels[counted], predicted[counted], size)
        near_labels, near_predicted = (
            np.where(boundary_map(m), m, size)[counted] for m in (labels, predicted)
        )
        self._boundary_counts += count_pairs(near_labels, near_predicted, size + 1)

    def _require_classes(self, labels: np.ndarray, whose: str) -> None:
        size = len(self._class_names)
        if labels.size and not 0 <= labels.min() <= labels.max() < size:
            raise ValueError(
                f"{whose} has labels from {labels.min()} to {labels.max()}; there are {size} "
                f"classes, and the ignored label is {self._ignore_label}."
            )


def _class_names(metadata: Metadata, num_classes: int | None) -> list[str]:
    names = metadata.get("stuff_classes")
    if names is None and num_classes is not None:
        return [str(index) for index in range(num_classes)]
    if names is None:
        raise ValueError(
            f"Data set '{metadata.name}' has no `stuff_classes` in its metadata; set them to the "
            "names of its semantic classes, or give num_classes."
        )
    if num_classes not in (None, len(names)):
        raise InvalidArgumentError(
            f"Data set '{metadata.name}' has {len(names)} stuff_classes, but num_classes is "
            f"{num_classes}; leave num_classes out."
        )
    return list(names)

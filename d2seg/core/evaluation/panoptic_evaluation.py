"""Panoptic quality of a data set in COCO's format."""

import logging
import os
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from d2seg.core.data.catalog import MetadataCatalog
from d2seg.core.evaluation.coco_json import write_json
from d2seg.core.evaluation.collect import collect
from d2seg.core.evaluation.evaluator import DatasetEvaluator, Outputs
from d2seg.core.evaluation.panoptic_format import encode_png, read_ids
from d2seg.core.evaluation.panoptic_quality import (
    Tallies,
    add_tallies,
    compare_segments,
    panoptic_quality,
)
from d2seg.core.evaluation.tables import metrics_table
from d2seg.core.runtime.files import PathManager, read_json, replace_when_complete

__all__ = ["COCOPanopticEvaluator"]

logger = logging.getLogger(__name__)


class COCOPanopticEvaluator(DatasetEvaluator):
    """Panoptic, segmentation and recognition quality, of all, of things and of stuff.

    Each image is compared when it comes in, in the process that it comes to.
    """

    def __init__(self, dataset_name: str, output_dir: str | os.PathLike[str] | None = None) -> None:
        """Prepare; the annotations are read when the first image comes.

        Args:
            dataset_name: A data set with ``panoptic_json``, ``panoptic_root`` and
                ``{thing,stuff}_dataset_id_to_contiguous_id`` in its metadata.
            output_dir: The folder for ``predictions.json`` and the folder ``predictions`` of PNG
                files, in COCO's format; None to write nothing.
        """
        self._metadata = MetadataCatalog.get(dataset_name)
        self._output_dir = output_dir
        self._dataset_ids = {
            is_thing: {
                index: id_
                for id_, index in getattr(
                    self._metadata, f"{kind}_dataset_id_to_contiguous_id"
                ).items()
            }
            for is_thing, kind in ((True, "thing"), (False, "stuff"))
        }
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        self._tallies: Tallies = {}
        self._predictions: list[dict[str, Any]] = []
        self._num_images = 0

    def process(self, inputs: Outputs, outputs: Outputs) -> None:
        """Compare the predictions for some images with their annotations.

        Args:
            inputs: One dict per image, with ``image_id`` and ``file_name``.
            outputs: One dict per image, with ``panoptic_seg``: the (H, W) int segment of each pixel
                and, for each segment, a dict with ``id``, ``category_id`` and ``isthing``. Without
                ``isthing`` the category is one of the data set's. Without dicts (None) the segments
                are -1 for none, else the contiguous category times the metadata's
                ``label_divisor``, plus the number of the instance.

        Raises:
            FileNotFoundError: An annotation file is missing.
            ValueError: A prediction has another size, a segment without a category, or a category
                that the data set does not have.
            KeyError: The data set has no such image.
        """
        for image, output in zip(inputs, outputs, strict=True):
            segmentation, segments = output["panoptic_seg"]
            ids = segmentation.cpu().numpy().astype(np.int64)
            if segments is None:
                segments, ids = self._segments_of_labels(ids), ids + 1
            segments = [self._with_dataset_category(segment) for segment in segments]
            self._require_segments(ids, segments, image["file_name"])
            self._num_images += 1
            if "annotations" in self._truth:
                self._compare(image, ids, segments)
            if self._output_dir is not None:
                self._predictions.append(_prediction(image, ids, segments))

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Average, and write the predictions to the output folder.

        Returns:
            ``panoptic_seg``: ``PQ``, ``SQ``, ``RQ``, and those with ``_th`` and ``_st``, in
            percent. Empty without annotations, and in processes other than the first.
        """
        parts = collect((self._tallies, self._predictions, self._num_images))
        if not parts:
            return {}
        self._write([prediction for part in parts for prediction in part[1]])
        if "annotations" not in self._truth:
            logger.info("'%s' has no annotations; not evaluated.", self._metadata.name)
            return {}
        num_images, num_annotated = sum(part[2] for part in parts), len(self._annotations)
        if num_images != num_annotated:
            logger.warning(
                "%d images were predicted, %d are annotated; the others do not count.",
                num_images,
                num_annotated,
            )
        is_thing = {c["id"]: bool(c["isthing"]) for c in self._truth["categories"]}
        metrics = panoptic_quality(add_tallies(part[0] for part in parts), is_thing)
        logger.info("panoptic_seg:\n%s", metrics_table(metrics))
        return OrderedDict(panoptic_seg=metrics)

    @cached_property
    def _truth(self) -> dict[str, Any]:
        json_file = self._metadata.panoptic_json
        if not PathManager.isfile(json_file):
            raise FileNotFoundError(f"There is no panoptic annotation file '{json_file}'.")
        content: dict[str, Any] = read_json(json_file)
        return content

    @cached_property
    def _annotations(self) -> dict[str, dict[str, Any]]:
        # By text: some loaders number images, others name them.
        return {str(a["image_id"]): a for a in self._truth.get("annotations", [])}

    def _compare(
        self, image: dict[str, Any], ids: np.ndarray, segments: list[dict[str, Any]]
    ) -> None:
        annotation = self._annotations.get(str(image["image_id"]))
        if annotation is None:
            raise KeyError(
                f"'{self._metadata.panoptic_json}' has no image with the id {image['image_id']}."
            )
        truth_file = os.path.join(self._metadata.panoptic_root, annotation["file_name"])
        truth_ids = read_ids(truth_file)
        if truth_ids.shape != ids.shape:
            raise ValueError(
                f"'{truth_file}' has the size {truth_ids.shape}, but the prediction {ids.shape}; "
                "predict at the size of the annotations."
            )
        found = compare_segments(truth_ids, annotation["segments_info"], ids, segments)
        self._tallies = add_tallies([self._tallies, found])

    def _segments_of_labels(self, labels: np.ndarray) -> list[dict[str, Any]]:
        found = []
        for label in np.unique(labels[labels != -1]).tolist():
            category = label // self._metadata.label_divisor
            is_thing = category in self._dataset_ids[True]
            found.append({"id": label + 1, "category_id": category, "isthing": is_thing})
        return found

    def _with_dataset_category(self, segment: dict[str, Any]) -> dict[str, Any]:
        kept = {k: float(segment[k]) for k in ("score",) if k in segment}
        category, is_thing = int(segment["category_id"]), segment.get("isthing")
        if is_thing is not None:
            category = self._dataset_ids[bool(is_thing)].get(category, -1)
        if all(category not in ids.values() for ids in self._dataset_ids.values()):
            raise ValueError(
                f"A predicted segment has category_id {segment['category_id']} and isthing "
                f"{is_thing}, but data set '{self._metadata.name}' has no such class."
            )
        return {"id": int(segment["id"]), "category_id": category, **kept}

    def _require_segments(
        self, ids: np.ndarray, segments: list[dict[str, Any]], file_name: str
    ) -> None:
        unknown = set(np.unique(ids).tolist()) - {segment["id"] for segment in segments} - {0}
        if unknown:
            raise ValueError(
                f"The panoptic prediction for '{file_name}' has pixels of segment {min(unknown)}, "
                "which its segments_info does not list."
            )

    def _write(self, predictions: list[dict[str, Any]]) -> None:
        if self._output_dir is None:
            return
        for prediction in predictions:
            target = Path(self._output_dir) / "predictions" / prediction["file_name"]
            with replace_when_complete(target) as path:
                path.write_bytes(prediction.pop("png"))
        content = {**self._truth, "annotations": predictions}
        write_json(content, self._output_dir, "predictions.json")


def _prediction(
    image: dict[str, Any], ids: np.ndarray, segments: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "image_id": image["image_id"],
        "file_name": f"{Path(image['file_name']).stem}.png",
        "png": encode_png(ids),
        "segments_info": segments,
    }

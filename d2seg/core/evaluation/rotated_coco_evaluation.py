"""COCO's average precision of rotated boxes."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.evaluation.coco_evaluation import COCOEvaluator
from d2seg.core.evaluation.coco_json import box_results, instances_to_coco_json
from d2seg.core.ops.rotated import pairwise_iou_rotated
from d2seg.core.structures import BoxMode, Instances

__all__ = ["RotatedCOCOEvaluator", "RotatedCOCOeval"]


class RotatedCOCOeval(COCOeval):
    """pycocotools' evaluation with the overlap of rotated boxes.

    A ``bbox`` has four numbers (XYWH) or five (centre, size and degrees, counter-clockwise).
    """

    def computeIoU(self, imgId: Any, catId: Any) -> Any:
        """Return the overlaps of an image's detections and annotations of a category.

        Args:
            imgId: The image.
            catId: The category; without meaning if ``params.useCats`` is 0.

        Returns:
            (detections, annotations) float, best detections first, or an empty list where there are
            none.

        Raises:
            ValueError: There is a crowd among rotated boxes.
        """
        categories = [catId] if self.params.useCats else self.params.catIds
        detections, annotations = (
            [one for category in categories for one in found.get((imgId, category), [])]
            for found in (self._dts, self._gts)
        )
        if not any(len(one["bbox"]) == 5 for one in detections + annotations):
            return super().computeIoU(imgId, catId)
        if any(one.get("iscrowd") for one in annotations):
            raise InvalidArgumentError(
                f"Image {imgId} has a crowd among rotated boxes; no overlap is defined with one. "
                "Remove it from the annotations."
            )
        best_first = sorted(detections, key=lambda one: -one["score"])
        counted = best_first[: self.params.maxDets[-1]]
        return pairwise_iou_rotated(_rotated(counted), _rotated(annotations)).numpy()


class RotatedCOCOEvaluator(COCOEvaluator):
    """Average precision of rotated boxes; the arguments are those of COCOEvaluator.

    Annotations and predictions may be rotated or upright. Its only task is ``bbox``.
    """

    _known_tasks = ("bbox",)

    def instances_to_json(self, instances: Instances, img_id: Any) -> list[dict[str, Any]]:
        """Turn the detections of an image into COCO's result format.

        Args:
            instances: With ``pred_boxes`` (Boxes or RotatedBoxes), ``scores``, ``pred_classes``.
            img_id: The image's id in the annotation file.

        Returns:
            As `instances_to_coco_json`, without masks; a rotated ``bbox`` has five numbers.
        """
        boxes = instances.pred_boxes.tensor.cpu()
        if boxes.shape[1] == 5:
            return box_results(instances, boxes.tolist(), img_id)
        upright = instances_to_coco_json(instances, img_id)
        return [{k: r[k] for k in ("image_id", "category_id", "bbox", "score")} for r in upright]

    def _evaluation_class(self, task: str) -> type:
        return RotatedCOCOeval


def _rotated(records: Iterable[Mapping[str, Any]]) -> Tensor:
    """Return the boxes of annotations or results, (N, 5) float64."""
    rows = [_as_rotated(record["bbox"]) for record in records]
    return torch.tensor(np.array(rows), dtype=torch.float64).reshape(-1, 5)


def _as_rotated(bbox: list[float]) -> list[float]:
    numbers = [float(number) for number in bbox]
    if len(numbers) == 5:
        return numbers
    rotated: list[float] = BoxMode.convert(numbers, BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS)
    return rotated

"""COCO's average precision of boxes and masks, through pycocotools.

Legend: T IoU thresholds (0.50 to 0.95), R recall positions, K categories, A size ranges (all,
small, medium, large).
"""

import contextlib
import io
import itertools
import json
import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2seg.core.data.catalog import Metadata, MetadataCatalog
from d2seg.core.evaluation.evaluator import DatasetEvaluator, Outputs
from d2seg.core.runtime.comm import gather, is_main_process, synchronize
from d2seg.core.runtime.files import PathManager, replace_when_complete
from d2seg.core.structures import BoxMode, Instances

logger = logging.getLogger(__name__)

_TASKS = ("bbox", "segm")
_RESULT_KEYS = {"bbox": "bbox", "segm": "segmentation"}
"""Where a COCO result keeps what a task is about."""

_SIZE_RANGES = ("all", "small", "medium", "large")
_METRICS: dict[str, tuple[float | None, str]] = {
    "AP": (None, "all"),
    "AP50": (0.5, "all"),
    "AP75": (0.75, "all"),
    "APs": (None, "small"),
    "APm": (None, "medium"),
    "APl": (None, "large"),
}
"""For each metric the IoU threshold (None: the mean of all) and the size range."""


class COCOEvaluator(DatasetEvaluator):
    """Average precision of boxes and masks, as COCO defines it.

    Masks are compressed as they come in, so that a whole data set fits into memory.
    """

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
            dataset_name: A data set that was registered with its annotation file.
            tasks: ``bbox``, ``segm`` or both; None for what the predictions have.
            distributed: Collect the predictions of all processes; otherwise only those of this one.
            output_dir: The folder for ``coco_instances_results.json``; None to write nothing.
            max_dets_per_image: How many detections of an image count, best first; 100 when None.

        Raises:
            ValueError: A task is unknown, or the data set has no annotation file.
            FileNotFoundError: The annotation file is missing.
        """
        if isinstance(tasks, str) or not set(tasks or ()) <= set(_TASKS):
            raise ValueError(
                f"COCOEvaluator measures a list of the tasks {', '.join(_TASKS)}; found {tasks!r}."
            )
        self._tasks = None if tasks is None else tuple(tasks)
        self._distributed = distributed
        self._output_dir = output_dir
        self._max_dets = 100 if max_dets_per_image is None else max_dets_per_image
        self._metadata = MetadataCatalog.get(dataset_name)
        self._coco_api = _read_annotations(self._metadata)
        self._predictions: list[dict[str, Any]] = []
        self._num_images = 0

    def reset(self) -> None:
        """Forget all predictions."""
        self._predictions = []
        self._num_images = 0

    def process(self, inputs: Outputs, outputs: Outputs) -> None:
        """Take the predictions for some images.

        Args:
            inputs: One dict per image, with its ``image_id``.
            outputs: One dict per image, with ``instances`` in pixels of the original image.
        """
        for image, output in zip(inputs, outputs, strict=True):
            self._predictions += instances_to_coco_json(output["instances"], image["image_id"])
            self._num_images += 1

    def evaluate(self, img_ids: Sequence[int] | None = None) -> dict[str, dict[str, float]]:
        """Measure, and write the predictions to the output folder.

        Args:
            img_ids: The images to count; None for all that are annotated.

        Returns:
            For each task ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl`` in percent (nan
            where there is nothing to measure) and, with several classes, ``AP-<class name>``.
            Empty if no image was processed, and in processes other than the first.
        """
        predictions, num_images = self._collect()
        if not is_main_process() and self._distributed:
            return {}
        if num_images == 0:
            logger.warning("COCOEvaluator was given no image; there is nothing to evaluate.")
            return {}
        predictions = self._with_dataset_categories(predictions)
        self._write(predictions)
        if "annotations" not in self._coco_api.dataset:
            logger.info("'%s' has no annotations; not evaluated.", self._metadata.name)
            return {}
        results: OrderedDict[str, dict[str, float]] = OrderedDict()
        for task in self._tasks or _tasks_of(predictions):
            results[task] = self._measure(task, predictions, img_ids)
            logger.info("%s: %s", task, ", ".join(f"{k} {v:.2f}" for k, v in results[task].items()))
        return results

    def _collect(self) -> tuple[list[dict[str, Any]], int]:
        if not self._distributed:
            return self._predictions, self._num_images
        synchronize()
        parts = gather((self._predictions, self._num_images))
        predictions = list(itertools.chain.from_iterable(part[0] for part in parts))
        return predictions, sum(part[1] for part in parts)

    def _with_dataset_categories(self, predictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Replace contiguous classes by the category ids of the annotation file."""
        contiguous = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if contiguous is None:
            # load_coco_json, which would have noted it, numbers the ids in their order.
            contiguous = {
                id_: index for index, id_ in enumerate(sorted(self._coco_api.getCatIds()))
            }
        dataset_ids = {index: id_ for id_, index in contiguous.items()}
        for class_id in {prediction["category_id"] for prediction in predictions}:
            if class_id not in dataset_ids:
                raise ValueError(
                    f"A prediction has class {class_id}, but data set '{self._metadata.name}' has "
                    f"{len(dataset_ids)} classes; check MODEL.ROI_HEADS.NUM_CLASSES."
                )
        return [{**p, "category_id": dataset_ids[p["category_id"]]} for p in predictions]

    def _write(self, predictions: list[dict[str, Any]]) -> None:
        if self._output_dir is None:
            return
        target = os.path.join(self._output_dir, "coco_instances_results.json")
        with replace_when_complete(target) as path:
            path.write_text(json.dumps(predictions), encoding="utf-8")
        logger.info("Wrote %d predictions to %s", len(predictions), target)

    def _measure(
        self, task: str, predictions: list[dict[str, Any]], img_ids: Sequence[int] | None
    ) -> dict[str, float]:
        results = _results_of_task(task, predictions)
        if not results:
            logger.warning("There are no predictions for the task '%s'.", task)
            return dict.fromkeys(_METRICS, float("nan"))
        self._require_known_images(results)
        # pycocotools writes its progress to stdout.
        with contextlib.redirect_stdout(io.StringIO()):
            coco_eval = COCOeval(self._coco_api, self._coco_api.loadRes(results), task)
            coco_eval.params.maxDets = [self._max_dets]
            if img_ids is not None:
                coco_eval.params.imgIds = list(img_ids)
            coco_eval.evaluate()
            coco_eval.accumulate()
        class_names = [
            self._coco_api.cats[category_id]["name"] for category_id in coco_eval.params.catIds
        ]
        return _average_precisions(
            coco_eval.eval["precision"][..., 0], coco_eval.params.iouThrs, class_names
        )

    def _require_known_images(self, results: list[dict[str, Any]]) -> None:
        unknown = {result["image_id"] for result in results} - set(self._coco_api.imgs)
        if unknown:
            raise ValueError(
                f"There are predictions for {len(unknown)} image(s) that data set "
                f"'{self._metadata.name}' does not list, such as image id {min(unknown)}."
            )


def instances_to_coco_json(instances: Instances, img_id: int) -> list[dict[str, Any]]:
    """Turn detections into COCO's result format.

    Args:
        instances: With ``pred_boxes``, ``scores``, ``pred_classes`` and, optionally, ``pred_masks``
            (N, H, W) bool.
        img_id: The image's id in the annotation file.

    Returns:
        One dict per object: ``image_id``, ``category_id`` (contiguous), ``bbox`` XYWH, ``score``
        and, for masks, ``segmentation`` as compressed RLE.
    """
    if len(instances) == 0:
        return []
    boxes = instances.pred_boxes.tensor.cpu().numpy()
    xywh = BoxMode.convert(boxes, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).tolist()
    scores, classes = instances.scores.tolist(), instances.pred_classes.tolist()
    results: list[dict[str, Any]] = [
        {"image_id": img_id, "category_id": class_id, "bbox": box, "score": score}
        for class_id, box, score in zip(classes, xywh, scores, strict=True)
    ]
    if instances.has("pred_masks"):
        for result, mask in zip(results, instances.pred_masks, strict=True):
            result["segmentation"] = _encode_mask(mask.cpu().numpy())
    return results


def _encode_mask(mask: np.ndarray) -> dict[str, Any]:
    encoded = mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))
    # JSON has text only.
    return {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")}


def _read_annotations(metadata: Metadata) -> COCO:
    json_file = metadata.get("json_file")
    if json_file is None:
        raise ValueError(
            f"Data set '{metadata.name}' has no annotation file to evaluate with; register it with "
            "register_coco_instances, or set `json_file` in its metadata."
        )
    path = PathManager.get_local_path(json_file)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"There is no annotation file '{json_file}' (of data set '{metadata.name}')."
        )
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(path)


def _tasks_of(predictions: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    return _TASKS if any("segmentation" in p for p in predictions) else ("bbox",)


def _results_of_task(task: str, predictions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep what the task is about: with a box left in, the area of a mask would be the box's."""
    kept = ("image_id", "category_id", "score", _RESULT_KEYS[task])
    return [{key: p[key] for key in kept} for p in predictions if _RESULT_KEYS[task] in p]


def _average_precisions(
    precision: np.ndarray, iou_thresholds: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """Average the precision in the ways that have names.

    Args:
        precision: (T, R, K, A) float, -1 where there is nothing to measure.
        iou_thresholds: (T,) float.
        class_names: K names.
    """
    metrics = {}
    for name, (threshold, size_range) in _METRICS.items():
        chosen = precision[..., _SIZE_RANGES.index(size_range)]
        if threshold is not None:
            chosen = chosen[np.isclose(iou_thresholds, threshold)]
        metrics[name] = _mean_percent(chosen)
    if len(class_names) > 1:
        for index, class_name in enumerate(class_names):
            metrics[f"AP-{class_name}"] = _mean_percent(precision[:, :, index, 0])
    return metrics


def _mean_percent(precision: np.ndarray) -> float:
    measured = precision[precision > -1]
    return float(100 * measured.mean()) if measured.size else float("nan")

"""Average precision of boxes on Pascal VOC."""

import logging
import os
from collections import OrderedDict
from typing import Any
from xml.etree import ElementTree

import numpy as np

from d2seg.core.data.catalog import MetadataCatalog
from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.evaluation.collect import collect_lists
from d2seg.core.evaluation.evaluator import DatasetEvaluator, Outputs
from d2seg.core.evaluation.tables import metrics_table, per_class_table
from d2seg.core.evaluation.voc_precision import VocObjects, average_precision, match_detections
from d2seg.core.runtime.files import PathManager

__all__ = ["PascalVOCDetectionEvaluator"]

logger = logging.getLogger(__name__)

_IOU_PERCENT = range(50, 100, 5)

_Detection = tuple[str, float, list[float]]
"""Image, score and box, as a line of a VOC result file has them."""


class PascalVOCDetectionEvaluator(DatasetEvaluator):
    """Average precision as the development kit of Pascal VOC defines it.

    That of 2007 is averaged at eleven points, later ones over the whole curve. It is not COCO's:
    boxes count whole pixels, and each detection belongs to the object that it overlaps most.
    """

    def __init__(self, dataset_name: str) -> None:
        """Prepare; annotations are read by `evaluate`.

        Args:
            dataset_name: A data set that ``register_pascal_voc`` registered.

        Raises:
            ValueError: Its year is neither 2007 nor 2012.
        """
        self._metadata = MetadataCatalog.get(dataset_name)
        self._class_names = list(self._metadata.thing_classes)
        year = self._metadata.year
        if year not in (2007, 2012):
            raise ValueError(
                f"Pascal VOC is measured as in 2007 or 2012; data set '{dataset_name}' has the "
                f"year {year!r} in its metadata."
            )
        self._use_07_metric = year == 2007
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        self._predictions: list[tuple[int, _Detection]] = []

    def process(self, inputs: Outputs, outputs: Outputs) -> None:
        """Take the predictions for some images.

        Args:
            inputs: One dict per image, with its ``image_id``.
            outputs: One dict per image, with ``instances`` in pixels of the original image.
        """
        for image, output in zip(inputs, outputs, strict=True):
            instances = output["instances"]
            boxes = instances.pred_boxes.tensor.cpu().numpy().astype(np.float64)
            for class_id, score, (left, top, right, bottom) in zip(
                instances.pred_classes.tolist(), instances.scores.tolist(), boxes, strict=True
            ):
                # As precise as VOC's result files are, where pixels are counted from 1.
                box = [round(float(edge), 1) for edge in (left + 1, top + 1, right, bottom)]
                found = (str(image["image_id"]), round(score, 3), box)
                self._predictions.append((class_id, found))

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Measure.

        Returns:
            ``bbox``: ``AP`` (the mean of those at 0.50, 0.55, ... 0.95), ``AP50`` and ``AP75``, the
            mean of all classes that are annotated, in percent. Empty in processes other than the
            first.

        Raises:
            FileNotFoundError: The annotations are not there.
            ValueError: A prediction has a class that the data set does not have.
        """
        predictions = collect_lists(self._predictions)
        if predictions is None:
            return {}
        self._require_classes({class_id for class_id, _ in predictions})
        truth = self._read_truth()
        # [class, threshold]
        precisions = np.array(
            [
                self._precisions([found for c, found in predictions if c == class_id], truth[name])
                for class_id, name in enumerate(self._class_names)
            ]
        )
        measured = precisions[~np.isnan(precisions).any(axis=1)]
        means = measured.mean(axis=0) if len(measured) else np.full(len(_IOU_PERCENT), np.nan)
        by_threshold = dict(zip(_IOU_PERCENT, 100 * means, strict=True))
        metrics = {
            "AP": float(100 * means.mean()),
            "AP50": float(by_threshold[50]),
            "AP75": float(by_threshold[75]),
        }
        by_class = {
            f"AP50-{name}": float(100 * row[0])
            for name, row in zip(self._class_names, precisions, strict=True)
        }
        logger.info("bbox:\n%s\n%s", metrics_table(metrics), per_class_table(by_class, "AP50"))
        return OrderedDict(bbox=metrics)

    def _require_classes(self, class_ids: set[int]) -> None:
        num_classes = len(self._class_names)
        for class_id in class_ids - set(range(num_classes)):
            raise InvalidArgumentError(
                f"A prediction has class {class_id}, but data set '{self._metadata.name}' has "
                f"{num_classes} classes; check MODEL.ROI_HEADS.NUM_CLASSES."
            )

    def _precisions(
        self, detections: list[_Detection], truth: dict[str, VocObjects]
    ) -> list[float]:
        """Return the average precision of a class at each threshold."""
        image_ids = [image_id for image_id, _, _ in detections]
        scores = np.array([score for _, score, _ in detections], np.float64)
        boxes = np.array([box for _, _, box in detections], np.float64).reshape(-1, 4)
        if not any((~objects.difficult).any() for objects in truth.values()):
            return [float("nan")] * len(_IOU_PERCENT)
        return [
            average_precision(
                *match_detections(image_ids, scores, boxes, truth, percent / 100),
                use_07_metric=self._use_07_metric,
            )
            for percent in _IOU_PERCENT
        ]

    def _read_truth(self) -> dict[str, dict[str, VocObjects]]:
        """Return the objects of each class in each image."""
        folder = self._metadata.dirname
        list_file = os.path.join(folder, "ImageSets", "Main", f"{self._metadata.split}.txt")
        if not PathManager.isfile(list_file):
            raise FileNotFoundError(f"There is no list of images '{list_file}'.")
        with PathManager.open(list_file) as file:
            image_ids = [line.split()[0] for line in file if line.strip()]
        truth: dict[str, dict[str, VocObjects]] = {name: {} for name in self._class_names}
        for image_id in image_ids:
            objects = _read_objects(os.path.join(folder, "Annotations", f"{image_id}.xml"))
            for name, by_image in truth.items():
                of_class = [one for one in objects if one[0] == name]
                by_image[image_id] = VocObjects(
                    np.array([box for _, box, _ in of_class], np.float64).reshape(-1, 4),
                    np.array([difficult for _, _, difficult in of_class], bool),
                )
        return truth


def _read_objects(xml_file: str) -> list[tuple[str, list[float], bool]]:
    """Return class, box and difficulty of each object of an annotation file."""
    with PathManager.open(xml_file) as file:
        root = ElementTree.parse(file).getroot()
    return [_object(element, xml_file) for element in root.iter("object")]


def _object(element: ElementTree.Element, xml_file: str) -> tuple[str, list[float], bool]:
    def text(path: str, default: Any = None) -> str:
        found = element.findtext(path, default=default)
        if found is None:
            raise ValueError(f"An object of '{xml_file}' has no <{path}>.")
        return found.strip()

    box = [float(text(f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax")]
    return text("name"), box, bool(int(text("difficult", "0")))

"""What an exported file is worth on annotated images, by the evaluator that judges the model."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from d2seg.export.eager import Detections
from d2seg.export.torchscript import RunFile
from d2seg.framework import (
    Boxes,
    CfgNode,
    COCOEvaluator,
    DatasetCatalog,
    Instances,
    detector_postprocess,
)
from d2seg.images import load_image, prepare_image


def file_accuracy(
    run: RunFile, names: Sequence[str], cfg: CfgNode, dataset: str, input_order: str = ""
) -> dict[str, dict[str, float]]:
    """Measure average precision of a file on a data set.

    Args:
        run: The file, loaded in its runtime.
        names: Of its outputs, see ``ModelDescription.outputs``.
        cfg: Of the model; gives the size for testing.
        dataset: Name of a registered data set in COCO's format.
        input_order: Order of the channels that the file takes; by default ``INPUT.FORMAT``.

    Returns:
        ``AP``, ``AP50`` and the others in percent, by ``bbox`` and, for files with masks, ``segm``.

    Raises:
        KeyError: There is no data set of this name.
    """
    kinds = ("bbox", "segm") if "masks" in names else ("bbox",)
    entries = DatasetCatalog.get(dataset)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        evaluator = COCOEvaluator(dataset, kinds, distributed=False)
        evaluator.reset()
        for entry in entries:
            image = load_image(entry["file_name"], input_order or cfg.INPUT.FORMAT)
            prepared = prepare_image(image, cfg)
            found = Detections.from_outputs(names, run(prepared["image"]))
            sizes = [tuple(prepared["image"].shape[1:]), image.shape[:2]]
            evaluator.process([entry], [{"instances": _to_instances(found, *sizes)}])
        results: dict[str, dict[str, float]] = evaluator.evaluate()
    return results


def _to_instances(found: Detections, from_hw: Any, to_hw: Any) -> Instances:
    """Bring detections into the size of the image, as the model does."""
    instances = Instances(from_hw)
    instances.pred_boxes = Boxes(found.boxes)
    instances.scores, instances.pred_classes = found.scores, found.classes
    if found.masks is not None:
        instances.pred_masks = _as_probabilities(found.masks)
    return detector_postprocess(instances, *to_hw)


def _as_probabilities(masks: Tensor) -> Tensor:
    if masks.dim() != 4 or masks.dtype == torch.bool:
        raise ValueError(
            "Files that return masks of the size of the image are not evaluated; export without "
            "full_masks."
        )
    return masks

"""Detections that real detectron2 made must get the average precision that it gave them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch

from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets import register_coco_instances
from d2seg.core.evaluation import COCOEvaluator
from d2seg.core.structures import Boxes, Instances

DATA = Path(__file__).parents[2] / "data"
NAME = "recorded_detections_test_set"


@pytest.fixture
def recorded() -> Any:
    return json.loads((DATA / "nuclei_detectron2/predictions.json").read_text())


@pytest.fixture
def images() -> Iterator[dict[str, Any]]:
    register_coco_instances(NAME, {}, str(DATA / "nuclei/instances_val.json"), "images")
    yield {Path(image["file_name"]).name: image for image in DatasetCatalog.get(NAME)}
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def as_instances(detections: dict[str, Any], size_hw: tuple[int, int]) -> Instances:
    masks = [mask_util.decode(mask) for mask in detections["masks"]]
    return Instances(
        size_hw,
        pred_boxes=Boxes(detections["boxes"]),
        scores=torch.tensor(detections["scores"]),
        pred_classes=torch.tensor(detections["classes"], dtype=torch.int64),
        pred_masks=torch.from_numpy(np.array(masks).reshape(-1, *size_hw).astype(bool)),
    )


def test_average_precision_is_that_of_detectron2(
    recorded: dict[str, Any], images: dict[str, Any]
) -> None:
    evaluator = COCOEvaluator(NAME)
    evaluator.reset()
    for detections in recorded["predictions"]:
        image = images[detections["file_name"]]
        found = as_instances(detections, (image["height"], image["width"]))
        evaluator.process([image], [{"instances": found}])
    results = evaluator.evaluate()
    for task, metrics in recorded["average_precision"].items():
        # Scores were recorded with six decimals, so that a few became equal.
        assert results[task] == pytest.approx(metrics, abs=2e-5, nan_ok=True)
        assert results[task]["AP"] == pytest.approx(metrics["AP"], abs=1e-9)

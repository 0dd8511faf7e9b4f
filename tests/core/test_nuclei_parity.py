"""A checkpoint that real detectron2 trained, on real microscope images: the same detections."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest

from d2seg.core.config import get_cfg
from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets import register_coco_instances
from d2seg.core.data.detection_utils import read_image
from d2seg.core.engine import DefaultPredictor
from d2seg.core.evaluation import COCOEvaluator, inference_on_dataset
from d2seg.core.structures import Instances

DATA = Path(__file__).parents[1] / "data"
DETECTRON2 = DATA / "nuclei_detectron2"
BOX_ATOL = 0.1  # pixels
SCORE_ATOL = 0.005
LEAST_MASK_IOU = 0.98
LEAST_SHARE = 0.98
AP_ATOL = 0.1

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return json.loads((DETECTRON2 / "predictions.json").read_text())


@pytest.fixture(scope="module")
def measured() -> Any:
    """Predict every validation image once: detections by file name, and the metrics."""
    name = "nuclei_parity_val"
    register_coco_instances(
        name, {}, str(DATA / "nuclei/instances_val.json"), str(DATA / "nuclei/images")
    )
    cfg = get_cfg()
    cfg.merge_from_file(str(DETECTRON2 / "config.yaml"))
    cfg.MODEL.WEIGHTS = str(DETECTRON2 / "model_final.pth")
    cfg.MODEL.DEVICE = "cpu"
    predictor = DefaultPredictor(cfg)
    detections: dict[str, Instances] = {}

    def predict(inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        outputs = [predictor(read_image(image["file_name"], "BGR")) for image in inputs]
        for image, output in zip(inputs, outputs, strict=True):
            detections[Path(image["file_name"]).name] = output["instances"]
        return outputs

    batches = [[image] for image in DatasetCatalog.get(name)]
    metrics = inference_on_dataset(predict, batches, COCOEvaluator(name, distributed=False))
    yield detections, metrics
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def mask_iou(found: dict[str, Any], recorded: dict[str, Any]) -> float:
    """Compute the IoU of two masks; two empty ones (some detections have no pixel) are the same."""
    if mask_util.area(found) == mask_util.area(recorded) == 0:
        return 1.0
    return mask_util.iou([found], [recorded], [0])[0, 0]


def partner_differences(recorded: dict[str, Any], found: Instances) -> np.ndarray:
    """Pair every recorded detection with the free one nearest to it: (N, 3) float.

    Columns: largest box difference in pixels, score difference, mask IoU. A detection without
    partner has infinite differences.
    """
    boxes, scores = found.pred_boxes.tensor.numpy(), found.scores.numpy()
    masks = mask_util.encode(
        np.asfortranarray(found.pred_masks.numpy().transpose(1, 2, 0), np.uint8)
    )
    rows, free = [], np.ones(len(found), bool)
    for box, score, mask in zip(
        recorded["boxes"], recorded["scores"], recorded["masks"], strict=True
    ):
        distance = np.where(free, np.abs(boxes - box).max(axis=1, initial=0.0), np.inf)
        if not free.any():
            rows.append([np.inf, np.inf, 0.0])
            continue
        nearest = int(distance.argmin())
        free[nearest] = False
        rows.append(
            [distance[nearest], abs(scores[nearest] - score), mask_iou(masks[nearest], mask)]
        )
    return np.array(rows).reshape(-1, 3)


def test_the_same_detections(
    recorded: dict[str, Any], measured: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    detections, _ = measured
    assert set(detections) == {image["file_name"] for image in recorded["predictions"]}
    rows, count_differences = [], []
    for image in recorded["predictions"]:
        found = detections[image["file_name"]]
        assert set(found.pred_classes.tolist()) <= set(image["classes"])
        count_differences.append(abs(len(found) - len(image["scores"])))
        rows.append(partner_differences(image, found))
    box, score, iou = np.concatenate(rows).T
    same = (box <= BOX_ATOL) & (score <= SCORE_ATOL) & (iou > LEAST_MASK_IOU)
    with capsys.disabled():
        print(
            f"\n{same.sum()} of {len(same)} detections are the same ({100 * same.mean():.2f} %); "
            f"largest differences of those: box {box[same].max():.2g} px, "
            f"score {score[same].max():.2g}, mask IoU {iou[same].min():.4f}; "
            f"images with another number of detections: {np.count_nonzero(count_differences)}"
        )
    assert same.mean() >= LEAST_SHARE
    assert sum(count_differences) <= (1 - LEAST_SHARE) * len(same)


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_the_same_average_precision(
    task: str, recorded: dict[str, Any], measured: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    _, metrics = measured
    want = recorded["average_precision"][task]
    with capsys.disabled():
        for name, value in want.items():
            print(f"\n{task} {name}: {metrics[task][name]:.3f}, detectron2 {value:.3f}", end="")
    assert metrics[task] == pytest.approx(want, abs=AP_ATOL, nan_ok=True)

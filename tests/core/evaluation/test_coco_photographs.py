"""Stored detections on photographs of COCO: the numbers are pycocotools' to the last digit."""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_util
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets import register_coco_instances
from d2seg.core.evaluation import COCOEvaluator
from d2seg.core.structures import Boxes, BoxMode, Instances

MINI = Path(__file__).parents[2] / "data" / "coco_mini"
STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@pytest.fixture(params=["instances", "person_keypoints"])
def annotations(request: pytest.FixtureRequest) -> Iterator[str]:
    path = str(MINI / f"{request.param}.json")
    register_coco_instances("photographs", {}, path, str(MINI / "images"))
    yield path
    DatasetCatalog.remove("photographs")
    MetadataCatalog.remove("photographs")


def noisy_detections(api: COCO, image_id: int, random: np.random.Generator) -> list[dict[str, Any]]:
    """Objects of an image, moved by a few pixels; some are lost, some found twice."""
    found = []
    for annotation in api.loadAnns(api.getAnnIds([image_id], iscrowd=False)):
        for _ in range(random.choice([0, 1, 1, 1, 2])):
            shift = random.integers(-6, 7, 2)
            box = np.array(annotation["bbox"]) + np.array([*shift, 0, 0])
            one = {"box": box, "category_id": annotation["category_id"]}
            one["mask"] = np.roll(api.annToMask(annotation), tuple(shift[::-1]), (0, 1))
            if "keypoints" in annotation:
                points = np.array(annotation["keypoints"], dtype=float).reshape(-1, 3)
                one["keypoints"] = points + [*random.normal(0, 4, 2), 0]
            found.append({**one, "score": float(random.uniform())})
    return found


def as_instances(found: list[dict[str, Any]], image: dict[str, Any], ids: list[int]) -> Instances:
    instances = Instances((image["height"], image["width"]))
    boxes = torch.tensor(
        np.array([one["box"] for one in found]).reshape(-1, 4), dtype=torch.float64
    )
    instances.pred_boxes = Boxes(BoxMode.convert(boxes, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS))
    instances.pred_classes = torch.tensor([ids.index(one["category_id"]) for one in found]).long()
    instances.scores = torch.tensor([one["score"] for one in found], dtype=torch.float64)
    size = (0, image["height"], image["width"])
    masks = np.array([one["mask"] for one in found]) if found else np.zeros(size)
    instances.pred_masks = torch.tensor(masks, dtype=torch.bool)
    if found and "keypoints" in found[0]:
        points = np.array([one["keypoints"] for one in found])
        instances.pred_keypoints = torch.tensor(points, dtype=torch.float64)
    return instances


def stats_of_pycocotools(api: COCO, results: list[dict[str, Any]], task: str) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(api, api.loadRes(results), task)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = STATS if task != "keypoints" else ("AP", "AP50", "AP75", "APm", "APl")
    values = np.where(evaluation.stats < 0, np.nan, 100 * evaluation.stats)  # -1: no such objects
    return dict(zip(names, values.tolist(), strict=False))


def test_numbers_are_those_of_pycocotools(annotations: str, tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO(annotations)
    ids = sorted(api.cats)
    tasks = ["bbox", "segm", *(["keypoints"] if "keypoints" in annotations else [])]
    evaluator = COCOEvaluator(
        "photographs", tasks, distributed=False, output_dir=str(tmp_path), use_fast_impl=False
    )
    random = np.random.default_rng(5)
    for image_id, image in sorted(api.imgs.items()):
        found = noisy_detections(api, image_id, random)
        outputs = [{"instances": as_instances(found, image, ids)}]
        evaluator.process([{"image_id": image_id}], outputs)
    results = evaluator.evaluate()

    stored = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert len(stored) > 10
    assert {mask_util.area(one["segmentation"]) > 0 for one in stored} == {True}
    for task in tasks:
        # pycocotools takes the size of an object from its box if there is one.
        unused = "bbox" if task == "segm" else ""
        part = [{key: value for key, value in one.items() if key != unused} for one in stored]
        expected = stats_of_pycocotools(api, part, task)
        measured = {name: results[task][name] for name in expected}
        assert measured == pytest.approx(expected, rel=0, abs=0, nan_ok=True), task
        assert 5 < measured["AP"] < 95

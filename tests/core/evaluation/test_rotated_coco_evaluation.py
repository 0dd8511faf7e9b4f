"""Average precision of rotated boxes, with overlaps known by hand."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.evaluation import COCOEvaluator, RotatedCOCOEvaluator
from d2seg.core.structures import Boxes, BoxMode, Instances, RotatedBoxes

NAME = "rotated_coco_evaluation_test_set"
ROTATED, UPRIGHT = [60.0, 40.0, 40.0, 20.0, 30.0], [130.0, 60.0, 40.0, 20.0, 0.0]


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[str]:
    annotations = [
        {"bbox": box, "bbox_mode": BoxMode.XYWHA_ABS, "category_id": 0}
        for box in (ROTATED, UPRIGHT)
    ]
    image = {"file_name": "a", "image_id": 1, "height": 100, "width": 200}
    DatasetCatalog.register(NAME, lambda: [{**image, "annotations": annotations}])
    MetadataCatalog.get(NAME).set(thing_classes=["ship"])
    yield NAME
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def evaluate(evaluator: COCOEvaluator, boxes: Boxes) -> dict[str, Any]:
    found = Instances((100, 200), pred_boxes=boxes)
    found.scores = torch.linspace(0.9, 0.5, len(boxes))
    found.pred_classes = torch.zeros(len(boxes), dtype=torch.int64)
    evaluator.reset()
    evaluator.process([{"image_id": 1}], [{"instances": found}])
    return evaluator.evaluate()


def test_perfect_boxes_score_100_whatever_their_angle(dataset: str, tmp_path: Path) -> None:
    evaluator = RotatedCOCOEvaluator(dataset, output_dir=tmp_path)
    half_turn = [*ROTATED[:4], ROTATED[4] - 180]
    results = evaluate(evaluator, RotatedBoxes([half_turn, UPRIGHT]))
    assert list(results) == ["bbox"] and results["bbox"]["AP"] == pytest.approx(100)
    written = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert [result["bbox"] for result in written] == [half_turn, UPRIGHT]


def test_an_upright_box_around_a_rotated_one_overlaps_little(dataset: str, tmp_path: Path) -> None:
    evaluator = RotatedCOCOEvaluator(dataset, ["bbox"], output_dir=tmp_path)
    around = RotatedBoxes([[60.0, 40.0, 44.7, 37.4, 0.0], UPRIGHT])
    # 800 of 44.7 x 37.4 pixels are less than one half.
    metrics = evaluate(evaluator, around)["bbox"]
    assert metrics["AP50"] == pytest.approx(100 * 0.5 * 51 / 101)


def test_a_turn_costs_overlap(dataset: str, tmp_path: Path) -> None:
    # Two 40 x 20 boxes, one a quarter turned, share 20 x 20 of 1200 pixels.
    turned = RotatedBoxes([[*ROTATED[:4], ROTATED[4] + 90], UPRIGHT])
    evaluator = RotatedCOCOEvaluator(dataset, output_dir=tmp_path)
    assert evaluate(evaluator, turned)["bbox"]["AP50"] == pytest.approx(100 * 0.5 * 51 / 101)


def test_upright_predictions_are_compared_too(dataset: str, tmp_path: Path) -> None:
    evaluator = RotatedCOCOEvaluator(dataset, output_dir=tmp_path)
    metrics = evaluate(evaluator, Boxes([[110.0, 50.0, 150.0, 70.0]]))["bbox"]
    assert metrics["AP"] == pytest.approx(100 * 51 / 101)


def test_upright_data_sets_give_the_numbers_of_coco(tmp_path: Path) -> None:
    crowd = {"id": 2, "image_id": 1, "category_id": 1, "iscrowd": 1, "bbox": [60, 0, 80, 80]}
    single = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, 40, 40]}
    content = {
        "images": [{"id": 1, "height": 100, "width": 200}],
        "categories": [{"id": 1, "name": "ship"}],
        "annotations": [{**a, "area": 1600} for a in (single, crowd)],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    MetadataCatalog.get("rotated_test_upright").set(json_file=str(tmp_path / "truth.json"))
    boxes = Boxes([[100.0, 10.0, 120.0, 30.0], [2.0, 2.0, 40.0, 40.0], [0.0, 60.0, 9.0, 70.0]])
    ours, coco = (
        evaluate(kind("rotated_test_upright"), boxes)["bbox"]
        for kind in (RotatedCOCOEvaluator, COCOEvaluator)
    )
    assert math.isnan(ours.pop("APs")) and math.isnan(coco.pop("APs"))
    assert math.isnan(ours.pop("APl")) and math.isnan(coco.pop("APl"))
    assert ours == pytest.approx(coco) and 0 < ours["AP"] < 100
    with pytest.raises(AssertionError, match="Image 1 has a crowd among rotated boxes"):
        evaluate(RotatedCOCOEvaluator("rotated_test_upright"), RotatedBoxes([ROTATED]))
    MetadataCatalog.remove("rotated_test_upright")


def test_other_tasks_are_refused(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"RotatedCOCOEvaluator .* tasks bbox; found \['segm'\]"):
        RotatedCOCOEvaluator(dataset, ["segm"], output_dir=tmp_path)

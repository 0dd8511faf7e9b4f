"""Recall of proposals, counted by hand."""

import json
import math
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pycocotools.coco import COCO

from d2seg.core.data import MetadataCatalog
from d2seg.core.evaluation import COCOEvaluator
from d2seg.core.evaluation.proposal_recall import evaluate_box_proposals
from d2seg.core.structures import Boxes, Instances

NAME = "proposal_recall_test_set"
SMALL, MEDIUM, CROWD = [0, 0, 20, 10], [30, 30, 60, 40], [100, 100, 50, 50]
"""XYWH."""


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[str]:
    content = {
        "images": [{"id": i, "height": 200, "width": 300} for i in (1, 2)],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [
            {
                "id": id_,
                "image_id": image_id,
                "category_id": 1,
                "iscrowd": int(box is CROWD),
                "bbox": box,
                "area": box[2] * box[3],
            }
            for id_, (image_id, box) in enumerate([(1, SMALL), (1, MEDIUM), (1, CROWD)], start=1)
        ],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    MetadataCatalog.get(NAME).set(json_file=str(tmp_path / "truth.json"))
    yield NAME
    MetadataCatalog.remove(NAME)


def proposals(boxes: list[list[float]]) -> Instances:
    """Boxes XYXY, the last one best."""
    scores = torch.arange(len(boxes), dtype=torch.float32)
    return Instances((200, 300), proposal_boxes=Boxes(boxes), objectness_logits=scores)


FOUND = proposals([[0, 0, 20, 10], [30, 30, 90, 60], [200, 0, 210, 9]])
"""The small object exactly, 3 / 4 of the medium one, and nothing."""


def test_average_recall_by_size_and_limit(dataset: str, tmp_path: Path) -> None:
    evaluator = COCOEvaluator(dataset, output_dir=tmp_path / "out")
    evaluator.reset()
    evaluator.process(
        [{"image_id": 1}, {"image_id": 2}], [{"proposals": FOUND}, {"proposals": proposals([])}]
    )
    metrics = evaluator.evaluate()["box_proposals"]
    sizes = ("", "s", "m", "l")
    assert list(metrics) == [f"AR{s}@{limit}" for limit in (100, 1000) for s in sizes]
    # 0.75 covers 0.50 ... 0.75, which are 6 of the 10 thresholds.
    assert metrics["ARs@100"] == pytest.approx(100)
    assert metrics["ARm@100"] == pytest.approx(60)
    assert metrics["AR@1000"] == pytest.approx(80)
    assert math.isnan(metrics["ARl@100"])
    written = pickle.loads((tmp_path / "out/box_proposals.pkl").read_bytes())
    assert written["ids"] == [1, 2] and written["bbox_mode"] == 0
    assert written["boxes"][0].tolist() == FOUND.proposal_boxes.tensor.tolist()
    assert written["boxes"][1].shape == (0, 4)


def test_the_best_proposals_count(dataset: str) -> None:
    api = COCO(MetadataCatalog.get(dataset).json_file)
    predictions = [{"image_id": 1, "proposals": FOUND}]
    assert evaluate_box_proposals(predictions, api, limit=1)["ar"] == 0
    stats = evaluate_box_proposals(predictions, api, torch.tensor([0.7, 0.8]), limit=2)
    assert stats["recalls"].tolist() == [0.5, 0.0]
    assert stats["gt_overlaps"].tolist() == pytest.approx([0.0, 0.75])
    assert stats["num_pos"] == 2


def test_one_proposal_covers_one_object(dataset: str) -> None:
    api = COCO(MetadataCatalog.get(dataset).json_file)
    both = proposals([[0, 0, 90, 70]])
    stats = evaluate_box_proposals([{"image_id": 1, "proposals": both}], api)
    assert stats["gt_overlaps"].tolist() == pytest.approx([0.0, 60 * 40 / (90 * 70)])


def test_an_unknown_size_is_named(dataset: str) -> None:
    with pytest.raises(ValueError, match="512-inf; found 'tiny'"):
        evaluate_box_proposals([], COCO(MetadataCatalog.get(dataset).json_file), area="tiny")

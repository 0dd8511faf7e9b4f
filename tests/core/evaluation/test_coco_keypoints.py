"""Keypoint average precision, against object keypoint similarity computed by hand."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from d2seg.core.config import get_cfg
from d2seg.core.data import MetadataCatalog
from d2seg.core.evaluation import COCOEvaluator, instances_to_coco_json
from d2seg.core.structures import Boxes, Instances

NAME = "coco_keypoints_test_set"
TRUTH = [30, 20, 2, 50, 40, 2, 70, 40, 1]
AREA = 60.0 * 50.0
SIGMAS = (0.1, 0.2, 0.3)


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[str]:
    person = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [20, 10, 60, 50],
        "area": AREA,
        "keypoints": TRUTH,
        "num_keypoints": 3,
    }
    content = {
        "images": [{"id": 1, "height": 90, "width": 120}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [person],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    MetadataCatalog.get(NAME).set(json_file=str(tmp_path / "truth.json"), thing_classes=["person"])
    yield NAME
    MetadataCatalog.remove(NAME)


def person(shift: float = 0.0, num_keypoints: int = 3) -> Instances:
    """Predict what is annotated, `shift` pixels further right."""
    points = torch.tensor(TRUTH, dtype=torch.float32).reshape(1, 3, 3)[:, :num_keypoints]
    # Predictions are coordinates, annotations indices of pixels.
    points = points + torch.tensor([0.5 + shift, 0.5, 0.0])
    return Instances(
        (90, 120),
        pred_boxes=Boxes([[20, 10, 80, 60]]),
        scores=torch.tensor([0.9]),
        pred_classes=torch.tensor([0]),
        pred_keypoints=points,
    )


def evaluate(evaluator: COCOEvaluator, found: Instances) -> dict[str, Any]:
    evaluator.reset()
    evaluator.process([{"image_id": 1}], [{"instances": found}])
    return evaluator.evaluate()


def test_perfect_keypoints_score_100(dataset: str) -> None:
    results = evaluate(COCOEvaluator(dataset, kpt_oks_sigmas=SIGMAS), person())
    assert list(results) == ["bbox", "keypoints"]
    assert math.isnan(results["keypoints"].pop("APl"))
    assert results["keypoints"] == pytest.approx(dict.fromkeys(["AP", "AP50", "AP75", "APm"], 100))


def test_shifted_keypoints_match_up_to_their_similarity(dataset: str) -> None:
    shift = 12.0
    similarity = sum(math.exp(-(shift**2) / (8 * s**2 * AREA)) for s in SIGMAS) / 3
    evaluator = COCOEvaluator(dataset, ["keypoints"], kpt_oks_sigmas=SIGMAS)
    matched = sum(similarity >= 0.5 + 0.05 * i for i in range(10))
    assert 0 < matched < 10
    assert evaluate(evaluator, person(shift))["keypoints"]["AP"] == pytest.approx(10 * matched)


def test_keypoints_become_indices_of_pixels() -> None:
    (result,) = instances_to_coco_json(person(), 1)
    assert result["keypoints"] == pytest.approx(TRUTH)


def test_numbers_of_keypoints_must_agree(dataset: str) -> None:
    with pytest.raises(AssertionError, match="3 keypoints, the annotations 3, .* are 17 sigmas"):
        evaluate(COCOEvaluator(dataset), person())
    with pytest.raises(ValueError, match="have 2 keypoints, the annotations 3"):
        evaluate(COCOEvaluator(dataset, kpt_oks_sigmas=SIGMAS), person(num_keypoints=2))


def test_a_config_in_place_of_tasks(dataset: str, caplog: pytest.LogCaptureFixture) -> None:
    cfg = get_cfg()
    cfg.TEST.KEYPOINT_OKS_SIGMAS = list(SIGMAS)
    results = evaluate(COCOEvaluator(dataset, cfg, False), person())
    assert results["keypoints"]["AP"] == pytest.approx(100)
    assert "is deprecated; give tasks" in caplog.text

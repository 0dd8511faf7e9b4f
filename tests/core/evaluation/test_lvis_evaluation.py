"""LVIS evaluation: the federated rules by hand, and numbers that the package lvis gave."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from d2seg.core.data import MetadataCatalog
from d2seg.core.evaluation import LVISEvaluator
from d2seg.core.structures import Boxes, Instances

NAME = "lvis_evaluation_test_set"
HEIGHT, WIDTH = 120, 160
NUM_IMAGES, NUM_CLASSES = 12, 5


def random_box(random: np.random.RandomState) -> list[int]:
    left, top = int(random.randint(0, 60)), int(random.randint(0, 40))
    width, height = (int(edge) for edge in random.randint(8, [100, 80]))
    return [left, top, left + width, top + height]


def polygon(box: list[int]) -> list[list[int]]:
    left, top, right, bottom = box
    return [[left, top, right, top, right, bottom, left, bottom]]


def truth(random: np.random.RandomState) -> dict[str, Any]:
    """Make annotations of which each image has three categories, and knows of another one."""
    images: list[Any] = []
    annotations: list[Any] = []
    for image_id in range(1, NUM_IMAGES + 1):
        categories = random.permutation(NUM_CLASSES) + 1
        for category in categories[:3].tolist():
            for _ in range(int(random.randint(1, 4))):
                box = random_box(random)
                annotations.append(annotation(len(annotations) + 1, image_id, category, box))
        images.append(
            {
                "id": image_id,
                "height": HEIGHT,
                "width": WIDTH,
                "neg_category_ids": categories[3:4].tolist(),
                "not_exhaustive_category_ids": categories[:1].tolist(),
            }
        )
    frequencies = "rrccf"
    return {
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": i + 1, "name": f"class {i}", "frequency": frequencies[i]}
            for i in range(NUM_CLASSES)
        ],
    }


def annotation(id_: int, image_id: int, category: int, box: list[int]) -> dict[str, Any]:
    left, top, right, bottom = box
    return {
        "id": id_,
        "image_id": image_id,
        "category_id": category,
        "bbox": [left, top, right - left, bottom - top],
        "area": float((right - left) * (bottom - top)),
        "segmentation": polygon(box),
    }


def predict(content: dict[str, Any], random: np.random.RandomState) -> dict[int, Instances]:
    """Shift what is annotated, and add some of any category."""
    found = {}
    for image in content["images"]:
        of_image = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        boxes, classes = [], []
        for one in of_image:
            left, top, width, height = one["bbox"]
            x, y = random.randint(-5, 6, 2).tolist()
            boxes.append([max(left + x, 0), max(top + y, 0), left + x + width, top + y + height])
            classes.append(one["category_id"] - 1)
        for _ in range(4):
            boxes.append(random_box(random))
            classes.append(int(random.randint(0, NUM_CLASSES)))
        found[image["id"]] = instances(
            boxes, classes, random.random_sample(len(boxes)).round(3).tolist()
        )
    return found


def instances(boxes: list[list[int]], classes: list[int], scores: list[float]) -> Instances:
    """Make detections whose masks lack the upper eighth of the box."""
    masks = np.zeros((len(boxes), HEIGHT, WIDTH), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top + (bottom - top) // 8 : bottom, left:right] = True
    return Instances(
        (HEIGHT, WIDTH),
        pred_boxes=Boxes(boxes),
        scores=torch.tensor(scores, dtype=torch.float64),
        pred_classes=torch.tensor(classes),
        pred_masks=torch.from_numpy(masks),
    )


@pytest.fixture
def random_truth() -> dict[str, Any]:
    return truth(np.random.RandomState(5))


@pytest.fixture
def dataset(random_truth: dict[str, Any], tmp_path: Path) -> Iterator[str]:
    (tmp_path / "truth.json").write_text(json.dumps(random_truth))
    MetadataCatalog.get(NAME).set(json_file=str(tmp_path / "truth.json"))
    yield NAME
    MetadataCatalog.remove(NAME)


def evaluate(evaluator: LVISEvaluator, found: dict[int, Instances]) -> dict[str, dict[str, float]]:
    evaluator.reset()
    evaluator.process(
        [{"image_id": image_id} for image_id in found],
        [{"instances": one} for one in found.values()],
    )
    return evaluator.evaluate()


# What the package lvis 0.5.3 gives for the seeds of the test.
RECORDED = {
    (300, "bbox"): [33.666645, 73.148402, 24.840803, 19.990759, 44.947045],
    (300, "segm"): [29.570202, 65.560137, 20.533096, 17.580858, 42.470817],
    (7, "bbox"): [22.866063, 51.442366, 15.256026, 17.357096, 28.318888],
    (7, "segm"): [19.962066, 46.528967, 13.980798, 15.20132, 27.346582],
}
RECORDED_BY_FREQUENCY = {
    (300, "bbox"): [30.43124, 38.202991, 31.064763],
    (300, "segm"): [25.275874, 33.901975, 29.495312],
    (7, "bbox"): [18.182143, 30.416591, 17.132847],
    (7, "segm"): [14.954717, 27.176405, 15.548086],
}


@pytest.mark.parametrize("max_dets", [None, 7])
def test_numbers_are_those_of_the_package_lvis(
    dataset: str, random_truth: dict[str, Any], tmp_path: Path, max_dets: int | None
) -> None:
    evaluator = LVISEvaluator(dataset, output_dir=tmp_path / "out", max_dets_per_image=max_dets)
    results = evaluate(evaluator, predict(random_truth, np.random.RandomState(105)))
    assert list(results) == ["bbox", "segm"]
    for task, metrics in results.items():
        key = (max_dets or 300, task)
        assert list(metrics)[6:] == ["APr", "APc", "APf"]
        assert math.isnan(metrics["APl"])
        assert list(metrics.values())[:5] == pytest.approx(RECORDED[key], abs=1e-6)
        assert list(metrics.values())[6:] == pytest.approx(RECORDED_BY_FREQUENCY[key], abs=1e-6)
    assert (tmp_path / "out/lvis_instances_results.json").exists()


@pytest.fixture
def small_dataset(tmp_path: Path) -> Iterator[str]:
    categories = [{"id": i, "name": str(i), "frequency": "f"} for i in (1, 2)]
    image = {"id": 1, "height": HEIGHT, "width": WIDTH, "not_exhaustive_category_ids": []}
    content = {
        "images": [{**image, "neg_category_ids": []}],
        "categories": categories,
        "annotations": [annotation(1, 1, 1, [0, 0, 50, 50])],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    MetadataCatalog.get("lvis_small").set(json_file=str(tmp_path / "truth.json"))
    yield "lvis_small"
    MetadataCatalog.remove("lvis_small")


def found_and_more(class_of_other: int) -> dict[int, Instances]:
    """Find the only object, and something better somewhere else."""
    boxes = [[0, 0, 50, 50], [80, 80, 110, 110]]
    return {1: instances(boxes, [0, class_of_other], [0.5, 0.9])}


def test_categories_that_an_image_is_not_annotated_for_do_not_count(small_dataset: str) -> None:
    results = evaluate(LVISEvaluator(small_dataset, ["bbox"]), found_and_more(1))
    assert results["bbox"]["AP"] == pytest.approx(100)


def test_a_wrong_detection_of_an_annotated_category_counts(small_dataset: str) -> None:
    results = evaluate(LVISEvaluator(small_dataset, ["bbox"]), found_and_more(0))
    assert results["bbox"]["AP"] == pytest.approx(50)


def test_a_category_that_is_not_annotated_exhaustively_has_no_wrong_detections(
    small_dataset: str,
) -> None:
    file = Path(MetadataCatalog.get(small_dataset).json_file)
    content = json.loads(file.read_text())
    content["images"][0]["not_exhaustive_category_ids"] = [1]
    file.write_text(json.dumps(content))
    results = evaluate(LVISEvaluator(small_dataset, ["bbox"]), found_and_more(0))
    assert results["bbox"]["AP"] == pytest.approx(100)


def test_what_cannot_be_measured(small_dataset: str) -> None:
    with pytest.raises(ValueError, match=r"tasks bbox, segm; found \['keypoints'\]"):
        LVISEvaluator(small_dataset, ["keypoints"])
    evaluator = LVISEvaluator(small_dataset, ["bbox", "segm"])
    assert math.isnan(evaluate(evaluator, {1: instances([], [], [])})["segm"]["APr"])
    evaluate(evaluator, found_and_more(0))
    with pytest.raises(ValueError, match="always measures all images"):
        evaluator.evaluate(img_ids=[1])
    file = Path(MetadataCatalog.get(small_dataset).json_file)
    content = json.loads(file.read_text())
    del content["images"][0]["neg_category_ids"]
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="image 1 has no neg_category_ids. Use COCOEvaluator"):
        LVISEvaluator(small_dataset)

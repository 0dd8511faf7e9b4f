"""Pascal VOC evaluation from its XML files to metrics."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.data.datasets import register_pascal_voc
from d2seg.core.evaluation import PascalVOCDetectionEvaluator
from d2seg.core.structures import Boxes, Instances

NAME = "pascal_voc_evaluation_test_set"
OBJECTS = {
    "000001": [("cat", (11, 21, 50, 60), 0), ("cat", (101, 1, 140, 40), 0)],
    "000002": [("dog", (1, 1, 30, 40), 1), ("dog", (61, 61, 90, 99), 0)],
}


def xml(objects: list[tuple[str, tuple[int, int, int, int], int]]) -> str:
    body = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>"
        f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
        "</bndbox></object>"
        for name, (left, top, right, bottom), difficult in objects
    )
    return f"<annotation><size><width>200</width><height>100</height></size>{body}</annotation>"


@pytest.fixture(params=[2007, 2012])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/test.txt").write_text("".join(f"{name}\n" for name in OBJECTS))
    (tmp_path / "Annotations").mkdir()
    for name, objects in OBJECTS.items():
        (tmp_path / "Annotations" / f"{name}.xml").write_text(xml(objects))
    register_pascal_voc(NAME, str(tmp_path), "test", request.param, ["cat", "dog", "cow"])
    yield NAME
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def instances(boxes: list[list[float]], scores: list[float], classes: list[int]) -> Instances:
    return Instances(
        (100, 200),
        pred_boxes=Boxes(boxes),
        scores=torch.tensor(scores),
        pred_classes=torch.tensor(classes),
    )


def evaluate(evaluator: PascalVOCDetectionEvaluator, found: dict[str, Instances]) -> dict[str, Any]:
    evaluator.reset()
    evaluator.process(
        [{"image_id": image_id} for image_id in found],
        [{"instances": one} for one in found.values()],
    )
    return evaluator.evaluate()


def test_ground_truth_as_the_data_set_gives_it_is_perfect(dataset: str) -> None:
    found = {
        image["image_id"]: instances(
            [a["bbox"] for a in image["annotations"]],
            [0.9, 0.8],
            [a["category_id"] for a in image["annotations"]],
        )
        for image in DatasetCatalog.get(dataset)
    }
    results = evaluate(PascalVOCDetectionEvaluator(dataset), found)
    # There is no cow, which does not count.
    assert list(results) == ["bbox"]
    assert results["bbox"] == pytest.approx({"AP": 100, "AP50": 100, "AP75": 100})


def test_the_year_says_how_precision_is_averaged(dataset: str) -> None:
    # One cat of two, 31 of 40 rows of it (0.775: right up to 0.75), and the dog.
    found = {
        "000001": instances([[10, 20, 50, 51]], [0.9], [0]),
        "000002": instances([[60, 60, 90, 99]], [0.9], [1]),
    }
    metrics = evaluate(PascalVOCDetectionEvaluator(dataset), found)["bbox"]
    cat = 100 * (6 / 11 if MetadataCatalog.get(dataset).year == 2007 else 1 / 2)
    assert metrics["AP50"] == metrics["AP75"] == pytest.approx((cat + 100) / 2)
    assert metrics["AP"] == pytest.approx((0.6 * cat + 100) / 2)


def test_no_predictions_score_nothing(dataset: str) -> None:
    results = evaluate(PascalVOCDetectionEvaluator(dataset), {})
    assert results == {"bbox": {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}}


def test_an_unknown_class_is_named(dataset: str) -> None:
    found = {"000001": instances([[0, 0, 9, 9]], [0.9], [3])}
    with pytest.raises(AssertionError, match="class 3, but data set .* has 3 classes"):
        evaluate(PascalVOCDetectionEvaluator(dataset), found)


def test_data_sets_that_cannot_be_measured() -> None:
    MetadataCatalog.get("voc_test_1999").set(thing_classes=["cat"], year=1999)
    with pytest.raises(ValueError, match="has the year 1999"):
        PascalVOCDetectionEvaluator("voc_test_1999")
    MetadataCatalog.get("voc_test_nowhere").set(
        thing_classes=["cat"], year=2007, dirname="nowhere", split="test"
    )
    with pytest.raises(FileNotFoundError, match="no list of images 'nowhere"):
        evaluate(PascalVOCDetectionEvaluator("voc_test_nowhere"), {})

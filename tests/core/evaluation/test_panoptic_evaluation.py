"""Panoptic evaluation from files to metrics and back to files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from d2seg.core.data import MetadataCatalog
from d2seg.core.evaluation import COCOPanopticEvaluator
from d2seg.core.evaluation.panoptic_format import (
    encode_png,
    ids_from_rgb,
    read_ids,
    rgb_from_ids,
)

NAME = "panoptic_evaluation_test_set"
TRUTH = np.array([[1000, 1000, 1000, 70000], [1000, 70000, 70000, 0]])
"""A thing of category 10 and stuff of category 20, with ids of two and three bytes."""

SEGMENTS = [
    {"id": 1, "category_id": 0, "isthing": True, "score": torch.tensor(0.5), "instance_id": 0},
    {"id": 2, "category_id": 1, "isthing": False, "area": 3},
]
PREDICTED = np.array([[1, 1, 1, 1], [0, 2, 2, 2]])
"""The thing shares 3 of 5 pixels; the stuff 2 of 3, and one where nothing is annotated."""


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth/a.png").write_bytes(encode_png(TRUTH))
    annotation = {
        "image_id": 9,
        "file_name": "a.png",
        "segments_info": [
            {"id": 1000, "category_id": 10, "iscrowd": 0, "area": 4},
            {"id": 70000, "category_id": 20, "iscrowd": 0, "area": 3},
        ],
    }
    content = {
        "images": [{"id": 9, "file_name": "a.jpg", "height": 2, "width": 4}],
        "categories": [
            {"id": 10, "name": "a", "isthing": 1},
            {"id": 20, "name": "b", "isthing": 0},
        ],
        "annotations": [annotation],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    MetadataCatalog.get(NAME).set(
        panoptic_json=str(tmp_path / "truth.json"),
        panoptic_root=str(tmp_path / "truth"),
        thing_dataset_id_to_contiguous_id={10: 0},
        stuff_dataset_id_to_contiguous_id={20: 1},
        label_divisor=1000,
    )
    yield NAME
    MetadataCatalog.remove(NAME)


def evaluate(
    evaluator: COCOPanopticEvaluator, predicted: np.ndarray, segments: Any = SEGMENTS
) -> dict[str, Any]:
    evaluator.reset()
    output = {"panoptic_seg": (torch.from_numpy(predicted), segments)}
    evaluator.process([{"image_id": 9, "file_name": "folder/a.jpg"}], [output])
    return evaluator.evaluate()


def test_qualities_by_hand(dataset: str) -> None:
    metrics = evaluate(COCOPanopticEvaluator(dataset), PREDICTED)["panoptic_seg"]
    assert list(metrics) == [
        f"{name}{kind}" for kind in ("", "_th", "_st") for name in ("PQ", "SQ", "RQ")
    ]
    assert metrics["PQ_th"] == pytest.approx(60)
    assert metrics["PQ_st"] == pytest.approx(100 * 2 / 3)
    assert metrics["RQ"] == pytest.approx(100)


def test_predictions_are_written_in_cocos_format(dataset: str, tmp_path: Path) -> None:
    evaluate(COCOPanopticEvaluator(dataset, tmp_path / "out"), PREDICTED)
    content = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [category["id"] for category in content["categories"]] == [10, 20]
    (prediction,) = content["annotations"]
    assert prediction == {
        "image_id": 9,
        "file_name": "a.png",
        "segments_info": [
            {"id": 1, "category_id": 10, "score": 0.5},
            {"id": 2, "category_id": 20},
        ],
    }
    np.testing.assert_array_equal(read_ids(tmp_path / "out/predictions/a.png"), PREDICTED)


def test_labels_times_the_divisor_may_stand_for_segments(dataset: str) -> None:
    labels = np.array([[1, 1, 1, 1], [-1, 1000, 1000, 1000]])
    metrics = evaluate(COCOPanopticEvaluator(dataset), labels, None)["panoptic_seg"]
    assert metrics["PQ_th"] == pytest.approx(60)
    assert metrics["PQ_st"] == pytest.approx(100 * 2 / 3)


def test_categories_of_the_data_set_need_no_conversion(dataset: str) -> None:
    segments = [{"id": 1, "category_id": 10}, {"id": 2, "category_id": 20}]
    metrics = evaluate(COCOPanopticEvaluator(dataset), PREDICTED, segments)["panoptic_seg"]
    assert metrics["PQ_th"] == pytest.approx(60)


def test_wrong_input_is_named(dataset: str) -> None:
    evaluator = COCOPanopticEvaluator(dataset)
    with pytest.raises(ValueError, match="'folder/a.jpg' has pixels of segment 2"):
        evaluate(evaluator, PREDICTED, SEGMENTS[:1])
    with pytest.raises(ValueError, match="category_id 1 and isthing True, but data set"):
        evaluate(evaluator, PREDICTED, [{"id": 1, "category_id": 1, "isthing": True}])
    with pytest.raises(ValueError, match=r"has the size \(2, 4\), but the prediction \(2, 3\)"):
        evaluate(evaluator, PREDICTED[:, :3])
    with pytest.raises(KeyError, match="has no image with the id 8"):
        evaluator.process(
            [{"image_id": 8, "file_name": "a"}],
            [{"panoptic_seg": (torch.from_numpy(PREDICTED), SEGMENTS)}],
        )
    MetadataCatalog.get("panoptic_without_file").set(
        panoptic_json="nowhere.json",
        thing_dataset_id_to_contiguous_id={10: 0},
        stuff_dataset_id_to_contiguous_id={20: 1},
    )
    with pytest.raises(FileNotFoundError, match="no panoptic annotation file 'nowhere.json'"):
        evaluate(COCOPanopticEvaluator("panoptic_without_file"), PREDICTED)


def test_images_that_were_not_predicted_are_reported(
    dataset: str, caplog: pytest.LogCaptureFixture
) -> None:
    evaluator = COCOPanopticEvaluator(dataset)
    evaluator.reset()
    assert np.isnan(evaluator.evaluate()["panoptic_seg"]["PQ"])
    assert "0 images were predicted, 1 are annotated" in caplog.text


def test_without_annotations_predictions_are_only_written(dataset: str, tmp_path: Path) -> None:
    file = Path(MetadataCatalog.get(dataset).panoptic_json)
    content = json.loads(file.read_text())
    del content["annotations"]
    file.write_text(json.dumps(content))
    assert evaluate(COCOPanopticEvaluator(dataset, tmp_path / "out"), PREDICTED) == {}
    assert len(json.loads((tmp_path / "out/predictions.json").read_text())["annotations"]) == 1


def test_ids_are_base_256_numbers_of_colours(tmp_path: Path) -> None:
    assert rgb_from_ids(np.array([[5 + 256 * 6 + 256**2 * 7]])).tolist() == [[[5, 6, 7]]]
    assert ids_from_rgb(rgb_from_ids(TRUTH)).tolist() == TRUTH.tolist()
    Image.fromarray(rgb_from_ids(TRUTH)).save(tmp_path / "a.png")
    assert read_ids(tmp_path / "a.png").tolist() == TRUTH.tolist()
    with pytest.raises(ValueError, match="found -1 to 3"):
        rgb_from_ids(np.array([-1, 3]))

"""Semantic segmentation metrics against numbers counted by hand."""

import inspect
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from PIL import Image

from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.evaluation import SemSegEvaluator
from d2seg.core.evaluation.sem_seg_evaluation import load_image_into_numpy_array

NAME = "sem_seg_evaluation_test_set"
LABELS = np.array([[0, 0, 0, 1], [0, 255, 1, 1]], np.uint8)
PREDICTED = np.array([[0, 0, 1, 1], [2, 2, 1, 1]])


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[str]:
    label_file = str(tmp_path / "labels.png")
    Image.fromarray(LABELS).save(label_file)
    DatasetCatalog.register(NAME, lambda: [{"file_name": "a", "sem_seg_file_name": label_file}])
    MetadataCatalog.get(NAME).set(
        stuff_classes=["sky", "sea", "sand", "snow"],
        stuff_dataset_id_to_contiguous_id={10: 0, 20: 1, 30: 2, 40: 3},
        ignore_label=255,
    )
    yield NAME
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def scores(labels: np.ndarray, num_classes: int = 4) -> torch.Tensor:
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(labels), num_classes)
    return one_hot.permute(2, 0, 1).float()


def evaluate(evaluator: SemSegEvaluator, predicted: np.ndarray) -> dict[str, float]:
    evaluator.reset()
    evaluator.process([{"file_name": "a"}], [{"sem_seg": scores(predicted)}])
    return evaluator.evaluate()["sem_seg"]


def test_metrics_are_those_counted_by_hand(dataset: str) -> None:
    metrics = evaluate(SemSegEvaluator(dataset), PREDICTED)
    # sky: 2 right of 4, none wrong; sea: 3 right of 3, 1 wrong. The ignored pixel counts nowhere.
    assert metrics["IoU-sky"] == pytest.approx(50)
    assert metrics["IoU-sea"] == pytest.approx(75)
    assert metrics["mIoU"] == pytest.approx(62.5)
    assert metrics["fwIoU"] == pytest.approx(50 * 4 / 7 + 75 * 3 / 7)
    assert metrics["ACC-sky"] == pytest.approx(50)
    assert metrics["ACC-sea"] == pytest.approx(100)
    assert metrics["mACC"] == pytest.approx(75)
    assert metrics["pACC"] == pytest.approx(100 * 5 / 7)
    assert all(math.isnan(metrics[f"{m}-{c}"]) for m in ("IoU", "ACC") for c in ("sand", "snow"))


def test_metrics_come_in_the_usual_order(dataset: str) -> None:
    names = list(evaluate(SemSegEvaluator(dataset), PREDICTED))
    assert names[:4] == ["mIoU", "fwIoU", "IoU-sky", "BoundaryIoU-sky"]
    assert names[4:6] == ["min(IoU, B-Iou)-sky", "IoU-sea"]
    assert names[14:17] == ["mACC", "pACC", "ACC-sky"]


def test_reset_forgets_and_nothing_seen_is_nan(dataset: str) -> None:
    evaluator = SemSegEvaluator(dataset, distributed=False)
    evaluate(evaluator, PREDICTED)
    evaluator.reset()
    assert all(math.isnan(value) for value in evaluator.evaluate()["sem_seg"].values())


def test_predictions_are_written_with_the_ids_of_the_data_set(dataset: str, tmp_path: Path) -> None:
    evaluate(SemSegEvaluator(dataset, output_dir=tmp_path / "out"), PREDICTED)
    written = json.loads((tmp_path / "out" / "sem_seg_predictions.json").read_text())
    assert [p["category_id"] for p in written] == [10, 20, 30]
    decoded = mask_util.decode(written[2]["segmentation"])
    np.testing.assert_array_equal(decoded, PREDICTED == 2)


def test_classes_without_names_are_numbered(dataset: str, caplog: pytest.LogCaptureFixture) -> None:
    del MetadataCatalog.get(dataset).stuff_classes
    with pytest.raises(ValueError, match="no `stuff_classes` .*, or give num_classes"):
        SemSegEvaluator(dataset)
    metrics = evaluate(SemSegEvaluator(dataset, num_classes=4), PREDICTED)
    assert metrics["IoU-0"] == pytest.approx(50)
    assert "num_classes and ignore_label are deprecated" in caplog.text


def test_a_loading_function_may_replace_the_file(dataset: str) -> None:
    evaluator = SemSegEvaluator(
        dataset, sem_seg_loading_fn=lambda name, dtype: PREDICTED.astype(dtype)
    )
    assert evaluate(evaluator, PREDICTED)["mIoU"] == pytest.approx(100)


def test_wrong_input_is_named(dataset: str) -> None:
    evaluator = SemSegEvaluator(dataset)
    with pytest.raises(
        ValueError, match="has the size \\(2, 4\\), but the prediction .* \\(1, 4\\)"
    ):
        evaluate(evaluator, PREDICTED[:1])
    with pytest.raises(KeyError, match="has no image 'b'"):
        evaluator.process([{"file_name": "b"}], [{"sem_seg": scores(PREDICTED)}])
    with pytest.raises(ValueError, match="has 4 stuff_classes, but num_classes is 3"):
        SemSegEvaluator(dataset, num_classes=3)
    with pytest.raises(ValueError, match="has labels from 0 to 255; there are 4 classes"):
        evaluate(SemSegEvaluator(dataset, ignore_label=254), PREDICTED)


def test_label_maps_are_read_as_they_are(tmp_path: Path) -> None:
    Image.fromarray(LABELS).save(tmp_path / "a.png")
    labels = load_image_into_numpy_array(tmp_path / "a.png", copy=True, dtype=np.int64)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, LABELS)
    labels[0, 0] = 7


def test_arguments_are_those_of_detectron2() -> None:
    assert list(inspect.signature(SemSegEvaluator).parameters) == [
        "dataset_name",
        "distributed",
        "output_dir",
        "sem_seg_loading_fn",
        "num_classes",
        "ignore_label",
    ]

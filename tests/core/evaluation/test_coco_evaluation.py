"""COCO average precision on a small data set whose answers are known."""

import contextlib
import io
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.evaluation import COCOEvaluator, instances_to_coco_json
from d2seg.core.structures import Boxes, BoxMode, Instances

NAME = "coco_evaluation_test_set"
HEIGHT, WIDTH = 60, 90
OBJECTS = [(1, 5, [5, 5, 25, 20]), (1, 40, [30, 10, 70, 50]), (2, 5, [10, 10, 50, 50])]
"""Image id, category id, box XYXY: one small object, two medium ones."""


def rectangle(box: list[int]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 1
    return mask


def truth(image_id: int, category_id: int, box: list[int], id_: int) -> dict[str, Any]:
    rle = mask_util.encode(np.asfortranarray(rectangle(box)))
    return {
        "id": id_,
        "image_id": image_id,
        "category_id": category_id,
        "iscrowd": 0,
        "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
        "area": float(mask_util.area(rle)),
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
    }


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "truth.json").write_text(
        json.dumps(
            {
                "images": [{"id": i, "height": HEIGHT, "width": WIDTH} for i in (1, 2)],
                "categories": [{"id": 40, "name": "cell"}, {"id": 5, "name": "nucleus"}],
                "annotations": [truth(*o, id_=i) for i, o in enumerate(OBJECTS, start=1)],
            }
        )
    )
    MetadataCatalog.get(NAME).set(json_file=str(tmp_path / "truth.json"))
    yield NAME
    MetadataCatalog.remove(NAME)


def detections(boxes: list[list[int]], classes: list[int], masks: bool = True) -> Instances:
    found = Instances((HEIGHT, WIDTH), pred_boxes=Boxes(boxes))
    found.scores = torch.linspace(0.9, 0.5, len(boxes))
    found.pred_classes = torch.tensor(classes, dtype=torch.int64)
    if masks:
        rectangles = [rectangle(box) for box in boxes] or [np.zeros((HEIGHT, WIDTH))][:0]
        found.pred_masks = torch.from_numpy(
            np.array(rectangles).reshape(-1, HEIGHT, WIDTH).astype(bool)
        )
    return found


def evaluate(evaluator: COCOEvaluator, found: dict[int, Instances]) -> dict[str, dict[str, float]]:
    evaluator.reset()
    evaluator.process(
        [{"image_id": image_id} for image_id in found],
        [{"instances": instances} for instances in found.values()],
    )
    return evaluator.evaluate()


def perfect() -> dict[int, Instances]:
    return {
        1: detections([OBJECTS[0][2], OBJECTS[1][2]], [0, 1]),
        2: detections([OBJECTS[2][2]], [0]),
    }


def test_perfect_detections_score_100(dataset: str) -> None:
    results = evaluate(COCOEvaluator(dataset), perfect())
    assert list(results) == ["bbox", "segm"]
    for metrics in results.values():
        assert math.isnan(metrics.pop("APl"))
        assert set(metrics) == {"AP", "AP50", "AP75", "APs", "APm", "AP-nucleus", "AP-cell"}
        assert list(metrics.values()) == pytest.approx([100.0] * 7)


def test_boxes_and_masks_are_measured_apart(dataset: str) -> None:
    found = perfect()
    # The right box around a mask that covers 60 % of it: a match at 0.50, 0.55 and 0.60 only.
    found[2].pred_masks = torch.from_numpy(rectangle([10, 10, 50, 34])[None].astype(bool))
    results = evaluate(COCOEvaluator(dataset), found)
    assert results["bbox"]["AP"] == pytest.approx(100.0)
    assert results["segm"]["AP50"] == pytest.approx(100.0)
    assert results["segm"]["AP75"] < 80.0
    assert results["segm"]["AP-cell"] == pytest.approx(100.0)


def test_a_missed_object_costs_its_recall(dataset: str) -> None:
    found = {1: detections([OBJECTS[1][2]], [1]), 2: detections([OBJECTS[2][2]], [0])}
    bbox = evaluate(COCOEvaluator(dataset, ("bbox",)), found)["bbox"]
    # Recall 0.5 of the nuclei: 51 of the 101 recall positions are reached.
    assert bbox["AP-nucleus"] == pytest.approx(100 * 51 / 101)
    assert bbox["AP-cell"] == pytest.approx(100.0)


def test_detections_beyond_the_limit_do_not_count(dataset: str) -> None:
    found = {1: detections([[0, 0, 4, 4], OBJECTS[0][2]], [0, 0])}
    strict = evaluate(COCOEvaluator(dataset, ["bbox"], max_dets_per_image=1), found)
    assert strict["bbox"]["AP-nucleus"] == 0.0
    generous = evaluate(COCOEvaluator(dataset, ["bbox"]), found)
    assert generous["bbox"]["AP-nucleus"] == pytest.approx(100 * 0.5 * 51 / 101)


def test_only_the_images_asked_for(dataset: str) -> None:
    evaluator = COCOEvaluator(dataset, ["bbox"])
    evaluate(evaluator, {2: detections([OBJECTS[2][2]], [0])})
    assert evaluator.evaluate(img_ids=[2])["bbox"]["AP"] == pytest.approx(100.0)


def test_results_are_written_with_the_ids_of_the_file(dataset: str, tmp_path: Path) -> None:
    evaluate(COCOEvaluator(dataset, output_dir=tmp_path / "out"), perfect())
    written = json.loads((tmp_path / "out/coco_instances_results.json").read_text())
    assert [result["category_id"] for result in written] == [5, 40, 5]
    assert written[1]["bbox"] == [30.0, 10.0, 40.0, 40.0]
    assert (
        mask_util.decode(written[1]["segmentation"]).tolist() == rectangle(OBJECTS[1][2]).tolist()
    )


def test_detections_without_masks_have_boxes_only(dataset: str) -> None:
    found = {2: detections([OBJECTS[2][2]], [0], masks=False)}
    assert list(evaluate(COCOEvaluator(dataset), found)) == ["bbox"]


def test_no_predictions(dataset: str, caplog: pytest.LogCaptureFixture) -> None:
    results = evaluate(COCOEvaluator(dataset, ["bbox", "segm"]), {1: detections([], [])})
    assert math.isnan(results["segm"]["AP"])
    assert "no predictions for the task 'segm'" in caplog.text
    assert evaluate(COCOEvaluator(dataset), {}) == {}
    assert "was given no image" in caplog.text


def test_no_ground_truth(dataset: str, caplog: pytest.LogCaptureFixture) -> None:
    file = Path(MetadataCatalog.get(dataset).json_file)
    content = json.loads(file.read_text())
    del content["annotations"]
    file.write_text(json.dumps(content))
    with caplog.at_level(logging.INFO):
        assert evaluate(COCOEvaluator(dataset), perfect()) == {}
    assert "has no annotations; not evaluated" in caplog.text


def test_predictions_that_do_not_belong_here(dataset: str) -> None:
    # detectron2 asserts here, and scripts expect that.
    with pytest.raises(
        AssertionError, match="class 2, .* 2 classes; check MODEL.ROI_HEADS.NUM_CLASSES"
    ):
        evaluate(COCOEvaluator(dataset), {1: detections([[0, 0, 5, 5]], [2])})
    with pytest.raises(ValueError, match=r"1 image\(s\) .* image id 77"):
        evaluate(COCOEvaluator(dataset), {77: detections([[0, 0, 5, 5]], [0])})


def test_evaluators_that_cannot_be_made(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"segm, keypoints; found \('keypoint',\)"):
        COCOEvaluator(dataset, ("keypoint",))
    with pytest.raises(ValueError, match="found 'bbox'"):
        COCOEvaluator(dataset, "bbox")
    with pytest.raises(ValueError, match="'unheard_of' has no annotation file"):
        COCOEvaluator("unheard_of")
    MetadataCatalog.get("missing_file").set(json_file=str(tmp_path / "no.json"))
    with pytest.raises(FileNotFoundError, match=r"'.*no\.json' \(of data set 'missing_file'\)"):
        COCOEvaluator("missing_file")


def test_class_names_of_the_metadata_go_before_those_of_the_file(dataset: str) -> None:
    MetadataCatalog.get(dataset).set(
        thing_classes=["Zelle", "Kern"], thing_dataset_id_to_contiguous_id={40: 0, 5: 1}
    )
    found = {2: detections([OBJECTS[2][2]], [1])}
    bbox = evaluate(COCOEvaluator(dataset, ["bbox"]), found)["bbox"]
    assert bbox["AP-Zelle"] == 0.0
    assert bbox["AP-Kern"] == pytest.approx(100 * 51 / 101)


def test_annotations_without_area_and_crowd_are_completed(
    dataset: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = Path(MetadataCatalog.get(dataset).json_file)
    content = json.loads(file.read_text())
    for one in content["annotations"]:
        del one["area"], one["iscrowd"]
    del content["annotations"][0]["segmentation"]
    file.write_text(json.dumps(content))
    metrics = evaluate(COCOEvaluator(dataset, ["bbox"]), perfect())["bbox"]
    assert metrics["APs"] == metrics["APm"] == pytest.approx(100.0)
    assert "3 annotations of " in caplog.text


def test_images_without_an_id(dataset: str) -> None:
    evaluator = COCOEvaluator(dataset)
    with pytest.raises(KeyError, match="has no image_id; its dict has file_name, height"):
        evaluator.process([{"file_name": "a", "height": 9}], [{"instances": detections([], [])}])


def test_what_was_processed_is_kept_for_torch_load(dataset: str, tmp_path: Path) -> None:
    evaluate(COCOEvaluator(dataset, output_dir=tmp_path / "out"), perfect())
    kept = torch.load(tmp_path / "out/instances_predictions.pth")
    assert [(p["image_id"], len(p["instances"])) for p in kept] == [(1, 2), (2, 1)]


def test_a_data_set_without_annotation_file_is_written_as_one(tmp_path: Path) -> None:
    name = "coco_evaluation_test_unwritten"
    image = {
        "file_name": "a.png",
        "image_id": 7,
        "height": HEIGHT,
        "width": WIDTH,
        "annotations": [
            {"bbox": [5, 5, 25, 20], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0},
        ],
    }
    DatasetCatalog.register(name, lambda: [image])
    MetadataCatalog.get(name).set(thing_classes=["nucleus"])
    try:
        evaluator = COCOEvaluator(name, output_dir=tmp_path)
        found = {7: detections([[5, 5, 25, 20]], [0], masks=False)}
        assert evaluate(evaluator, found)["bbox"]["AP"] == pytest.approx(100.0)
        assert (tmp_path / f"{name}_coco_format.json").exists()
        image["annotations"] = []
        cached = evaluate(COCOEvaluator(name, output_dir=tmp_path), found)
        assert cached["bbox"]["AP"] == pytest.approx(100.0)
        fresh = COCOEvaluator(name, output_dir=tmp_path, allow_cached_coco=False)
        assert math.isnan(evaluate(fresh, found)["bbox"]["AP"])
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize("use_fast_impl", [True, False])
def test_numbers_are_those_pycocotools_reports(
    dataset: str, tmp_path: Path, use_fast_impl: bool
) -> None:
    found = perfect()
    found[1] = detections([[6, 5, 25, 21], [33, 14, 70, 50], [0, 0, 9, 9]], [0, 1, 1])
    evaluator = COCOEvaluator(dataset, output_dir=tmp_path, use_fast_impl=use_fast_impl)
    results = evaluate(evaluator, found)
    written = json.loads((tmp_path / "coco_instances_results.json").read_text())
    for task, unused in (("bbox", "segmentation"), ("segm", "bbox")):
        kept = [{k: v for k, v in result.items() if k != unused} for result in written]
        with contextlib.redirect_stdout(io.StringIO()):
            truth_api = COCO(MetadataCatalog.get(dataset).json_file)
            reference = COCOeval(truth_api, truth_api.loadRes(kept), task)
            reference.evaluate()
            reference.accumulate()
            reference.summarize()
        names = ["AP", "AP50", "AP75", "APs", "APm"]
        ours = [results[task][name] for name in names]
        assert ours == pytest.approx(100 * reference.stats[:5], abs=1e-12)
        assert 0 < results[task]["AP"] < 100


def test_one_dict_per_object() -> None:
    assert instances_to_coco_json(detections([], []), 3) == []
    (result,) = instances_to_coco_json(detections([[1, 2, 4, 8]], [1]), 3)
    assert result["image_id"] == 3 and result["category_id"] == 1
    assert result["bbox"] == [1.0, 2.0, 3.0, 6.0] and result["score"] == pytest.approx(0.9)
    assert mask_util.area(result["segmentation"]) == 18
    json.dumps(result)

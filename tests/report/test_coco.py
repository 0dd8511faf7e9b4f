import json
from pathlib import Path

import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from d2seg.framework import Boxes, Instances
from d2seg.report.coco import coco_dataset, coco_results


def two_detections() -> Instances:
    """Two detections in an image 20 high and 30 wide."""
    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, 5:9, 10:25] = True
    masks[1, 0:2, 0:3] = True
    return Instances(
        (20, 30),
        pred_boxes=Boxes(torch.tensor([[10.0, 5.0, 25.0, 9.0], [0.0, 0.0, 3.0, 2.0]])),
        scores=torch.tensor([0.9, 0.25]),
        pred_classes=torch.tensor([1, 0]),
        pred_masks=masks,
    )


def test_results_carry_boxes_masks_and_ids() -> None:
    detections = two_detections()
    first, second = coco_results(7, detections)
    assert first["image_id"] == 7
    assert first["category_id"] == 2
    assert first["bbox"] == [10.0, 5.0, 15.0, 4.0]
    assert first["score"] == 0.9
    assert second["category_id"] == 1
    decoded = torch.from_numpy(coco_mask.decode(first["segmentation"])).bool()
    assert torch.equal(decoded, detections.pred_masks[0])
    assert detections.pred_boxes.tensor[0].tolist() == [10.0, 5.0, 25.0, 9.0]


def test_pycocotools_loads_the_results(tmp_path: Path) -> None:
    dataset = coco_dataset(["a.png", "b.png"], [(20, 30), (40, 50)], ["cell", "nucleus"])
    (tmp_path / "images.json").write_text(json.dumps(dataset))
    (tmp_path / "instances.json").write_text(json.dumps(coco_results(1, two_detections())))
    loaded = COCO(str(tmp_path / "images.json")).loadRes(str(tmp_path / "instances.json"))
    annotations = loaded.loadAnns(loaded.getAnnIds(imgIds=[1]))
    assert [annotation["area"] for annotation in annotations] == [60, 6]
    assert loaded.loadCats([2])[0]["name"] == "nucleus"
    assert loaded.loadImgs([2])[0]["width"] == 50


def test_without_masks_there_is_no_segmentation() -> None:
    detections = two_detections()
    detections.remove("pred_masks")
    assert "segmentation" not in coco_results(1, detections)[0]
    assert coco_results(1, detections[torch.tensor([False, False])]) == []

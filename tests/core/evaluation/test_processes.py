"""Two processes that share the images must give the metrics of one that sees all."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from d2seg.core.data import DatasetCatalog, MetadataCatalog
from d2seg.core.engine import launch
from d2seg.core.evaluation import (
    CityscapesInstanceEvaluator,
    CityscapesSemSegEvaluator,
    COCOEvaluator,
    COCOPanopticEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
    PascalVOCDetectionEvaluator,
    SemSegEvaluator,
    inference_on_dataset,
)
from d2seg.core.evaluation.panoptic_format import encode_png
from d2seg.core.runtime import comm
from d2seg.core.structures import Boxes, Instances

HEIGHT, WIDTH = 40, 60
BOXES = [[2, 3, 22, 23], [5, 10, 45, 30], [30, 5, 55, 35]]
"""The object of each image: x from, y from, x to, y to."""

CAR = 26
NAME = "evaluation_in_processes_{}"


def mask_of(box: list[int]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def file_name(index: int) -> str:
    return f"aachen_{index}_0_leftImg8bit.png"


def write_truth(folder: Path) -> None:
    """Write each image's object in the format of every evaluator."""
    (folder / "aachen").mkdir()
    (folder / "Annotations").mkdir()
    (folder / "ImageSets/Main").mkdir(parents=True)
    (folder / "ImageSets/Main/test.txt").write_text("0\n1\n2\n")
    images, objects, segments = [], [], []
    for index, box in enumerate(BOXES):
        ids = np.where(mask_of(box), 1000 * CAR, 7)
        name = f"aachen/aachen_{index}_0_gtFine_instanceIds.png"
        Image.fromarray(ids.astype(np.uint16)).save(folder / name)
        Image.fromarray(mask_of(box).astype(np.uint8)).save(folder / f"labels_{index}.png")
        (folder / f"panoptic_{index}.png").write_bytes(encode_png(1 + mask_of(box).astype(int)))
        edges = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        bndbox = "".join(f"<{edge}>{value}</{edge}>" for edge, value in edges)
        (folder / f"Annotations/{index}.xml").write_text(
            f"<annotation><object><name>car</name><bndbox>{bndbox}</bndbox></object></annotation>"
        )
        images.append({"id": index, "height": HEIGHT, "width": WIDTH})
        xywh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        x0, y0, x1, y1 = box
        objects.append(
            {"id": index + 1, "image_id": index, "category_id": 1, "iscrowd": 0, "bbox": xywh}
            | {"area": xywh[2] * xywh[3], "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]]}
        )
        infos = [{"id": 2, "category_id": 1}, {"id": 1, "category_id": 2}]
        segments.append(
            {"image_id": index, "file_name": f"panoptic_{index}.png", "segments_info": infos}
        )
    instances = {"images": images, "categories": [{"id": 1, "name": "car"}], "annotations": objects}
    (folder / "instances.json").write_text(json.dumps(instances))
    kinds = [{"id": 1, "name": "car", "isthing": 1}, {"id": 2, "name": "road", "isthing": 0}]
    panoptic = {"images": images, "categories": kinds, "annotations": segments}
    (folder / "panoptic.json").write_text(json.dumps(panoptic))


def register(folder: Path) -> str:
    name = NAME.format(folder.name)
    DatasetCatalog.register(
        name,
        lambda: [
            {"file_name": file_name(i), "sem_seg_file_name": str(folder / f"labels_{i}.png")}
            for i in range(len(BOXES))
        ],
    )
    MetadataCatalog.get(name).set(
        json_file=str(folder / "instances.json"),
        panoptic_json=str(folder / "panoptic.json"),
        panoptic_root=str(folder),
        gt_dir=str(folder),
        dirname=str(folder),
        split="test",
        year=2012,
        thing_classes=["car"],
        stuff_classes=["other", "car"],
        thing_dataset_id_to_contiguous_id={1: 0},
        stuff_dataset_id_to_contiguous_id={2: 1},
    )
    return name


def model(inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Find every object, two pixels too far to the right."""
    outputs = []
    for image in inputs:
        box = np.array(BOXES[image["image_id"]]) + [2, 0, 2, 0]
        mask = torch.from_numpy(mask_of(box.tolist()))
        instances = Instances((HEIGHT, WIDTH), pred_boxes=Boxes([box.tolist()]))
        instances.scores = torch.tensor([0.5 + 0.1 * image["image_id"]])
        instances.pred_classes = torch.tensor([0])
        instances.pred_masks = mask[None]
        segments = [
            {"id": 1, "category_id": 1, "isthing": False},
            {"id": 2, "category_id": 0, "isthing": True},
        ]
        outputs.append(
            {
                "instances": instances,
                # Cityscapes' train ids 0 (road) and 13 (car) have the places of other and car.
                "sem_seg": torch.stack([~mask, mask]).float(),
                "panoptic_seg": (1 + mask.int(), segments),
            }
        )
    return outputs


class CityscapesLabels(CityscapesSemSegEvaluator):
    """Takes the two classes of the model for Cityscapes' road and car."""

    def process(self, inputs: Any, outputs: Any) -> None:
        scores = [torch.zeros(19, HEIGHT, WIDTH) for _ in outputs]
        for score, output in zip(scores, outputs, strict=True):
            score[[0, 13]] = output["sem_seg"]
        super().process(inputs, [{"sem_seg": score} for score in scores])


def evaluate(folder: str, output_name: str) -> None:
    """Evaluate the images of this process, by each evaluator, and write what comes out."""
    path = Path(folder)
    name = register(path)
    rank, world_size = comm.get_rank(), comm.get_world_size()
    loader = [
        [{"image_id": i, "file_name": file_name(i)}] for i in range(rank, len(BOXES), world_size)
    ]
    output_dir = path / output_name
    groups: list[list[DatasetEvaluator]] = [
        [
            COCOEvaluator(name, output_dir=output_dir),
            SemSegEvaluator(name, output_dir=output_dir),
            COCOPanopticEvaluator(name, output_dir),
        ],
        [CityscapesInstanceEvaluator(name), CityscapesLabels(name)],
        [PascalVOCDetectionEvaluator(name)],
    ]
    results = [inference_on_dataset(model, loader, DatasetEvaluators(group)) for group in groups]
    if rank == 0:
        (output_dir / "results.json").write_text(json.dumps(results))
    elif any(results):
        raise ValueError(f"Process {rank} has results: {results}.")


@pytest.mark.slow
def test_two_processes_give_the_metrics_of_one(tmp_path: Path) -> None:
    write_truth(tmp_path)
    launch(evaluate, 2, args=(str(tmp_path), "two"))
    evaluate(str(tmp_path), "one")
    one, two = (tmp_path / name for name in ("one", "two"))
    results = json.loads((one / "results.json").read_text())
    assert [list(tasks) for tasks in results] == [
        ["bbox", "segm", "sem_seg", "panoptic_seg"],
        ["segm", "sem_seg"],
        ["bbox"],
    ]
    assert 0 < results[0]["bbox"]["AP"] < 100
    assert (two / "results.json").read_text() == (one / "results.json").read_text()
    for name in ("coco_instances_results.json", "sem_seg_predictions.json", "predictions.json"):
        # The processes take turns, so the order of the images differs.
        single, double = (json.loads((folder / name).read_text()) for folder in (one, two))
        if name == "predictions.json":
            single, double = single["annotations"], double["annotations"]
        assert sorted(map(str, double)) == sorted(map(str, single))
    assert len(list((two / "predictions").iterdir())) == len(BOXES)

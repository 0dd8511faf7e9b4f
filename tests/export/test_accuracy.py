"""Average precision of files on annotated images."""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from d2seg.assets import DEMO_CONFIG_FILE
from d2seg.config import load_config
from d2seg.export.accuracy import file_accuracy
from d2seg.export.deployable import DeployableRCNN
from d2seg.export.weights import reduce_weights
from d2seg.framework import (
    COCOEvaluator,
    DatasetCatalog,
    DefaultPredictor,
    MetadataCatalog,
    register_coco_instances,
)
from d2seg.images import load_image
from tests.conftest import ROOT

NUCLEI = ROOT / "tests" / "data" / "nuclei"
NAMES = ["boxes", "classes", "masks", "scores", "image_size"]
FEW = "nuclei_for_accuracy"


@pytest.fixture
def few_images(tmp_path: Path) -> Iterator[str]:
    """Register five of the images, those of the smallest files."""
    truth = json.loads((NUCLEI / "instances_val.json").read_text())
    images = sorted(
        truth["images"], key=lambda image: (NUCLEI / "images" / image["file_name"]).stat().st_size
    )
    chosen = {image["id"] for image in images[:5]}
    truth["images"] = [image for image in truth["images"] if image["id"] in chosen]
    truth["annotations"] = [one for one in truth["annotations"] if one["image_id"] in chosen]
    (tmp_path / "few.json").write_text(json.dumps(truth))
    register_coco_instances(FEW, {}, str(tmp_path / "few.json"), str(NUCLEI / "images"))
    yield FEW
    DatasetCatalog.remove(FEW)
    MetadataCatalog.remove(FEW)


def eager_accuracy(cfg: Any, dataset: str) -> dict[str, dict[str, float]]:
    predictor = DefaultPredictor(cfg)
    evaluator = COCOEvaluator(dataset, ("bbox", "segm"), distributed=False)
    evaluator.reset()
    with contextlib.redirect_stdout(io.StringIO()):
        for entry in DatasetCatalog.get(dataset):
            evaluator.process([entry], [predictor(load_image(entry["file_name"]))])
        results: dict[str, dict[str, float]] = evaluator.evaluate()
    return results


def test_a_file_is_judged_as_its_model(few_images: str) -> None:
    cfg = load_config(DEMO_CONFIG_FILE, ["INPUT.MIN_SIZE_TEST", "160"])
    model = DefaultPredictor(cfg).model
    expected = eager_accuracy(cfg, few_images)
    found = file_accuracy(DeployableRCNN(model, aten_only=False), NAMES, cfg, few_images)
    assert expected["segm"]["AP"] > 30
    for kind in ("bbox", "segm"):
        for name in ("AP", "AP50", "AP75"):
            assert found[kind][name] == pytest.approx(expected[kind][name], abs=0.05)
    # Channels the other way round, told to the file and to the evaluation.
    reverse = DeployableRCNN(model, aten_only=False, input_order="RGB")
    again = file_accuracy(reverse, NAMES, cfg, few_images, "RGB")
    assert again["segm"]["AP"] == pytest.approx(found["segm"]["AP"], abs=0.05)


def test_files_without_masks_have_boxes_only(few_images: str) -> None:
    cfg = load_config(DEMO_CONFIG_FILE, ["INPUT.MIN_SIZE_TEST", "96", "MODEL.MASK_ON", "False"])
    model = DeployableRCNN(DefaultPredictor(cfg).model, aten_only=False)
    found = file_accuracy(model, ["boxes", "classes", "scores", "image_size"], cfg, few_images)
    assert list(found) == ["bbox"]
    assert found["bbox"]["AP"] > 10


def test_masks_of_the_image_are_refused(few_images: str) -> None:
    cfg = load_config(DEMO_CONFIG_FILE, ["INPUT.MIN_SIZE_TEST", "96"])

    def run(image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        masks = torch.zeros(1, *image.shape[1:], dtype=torch.bool)
        boxes, scores = torch.tensor([[0.0, 0.0, 5.0, 5.0]]), torch.ones(1)
        return boxes, torch.zeros(1, dtype=torch.int64), masks, scores, torch.tensor([96, 96])

    with pytest.raises(ValueError, match="masks of the size of the image are not evaluated"):
        file_accuracy(run, NAMES, cfg, few_images)


@pytest.mark.slow
def test_reduced_weights_cost_less_than_half_a_point(record_property: Any) -> None:
    name = "nuclei_for_weights"
    register_coco_instances(name, {}, str(NUCLEI / "instances_val.json"), str(NUCLEI / "images"))
    cfg = load_config(DEMO_CONFIG_FILE)
    deployable = DeployableRCNN(DefaultPredictor(cfg).model, aten_only=False)
    precision = {}
    for weights in ("fp32", "half", "int8"):
        found = file_accuracy(reduce_weights(deployable, weights), NAMES, cfg, name)
        precision[weights] = [found["bbox"]["AP"], found["segm"]["AP"]]
        figures = ", ".join(f"{value:.2f}" for value in precision[weights])
        record_property(f"{weights}: box and mask AP", figures)
    assert precision["fp32"] == pytest.approx([53.2, 55.5], abs=0.1)  # as detectron2's evaluation
    for weights in ("half", "int8"):
        assert precision[weights] == pytest.approx(precision["fp32"], abs=0.5)

"""Average precision of models on annotated images, whatever they are stored in."""

import contextlib
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from d2seg.assets import DEMO_CONFIG_FILE
from d2seg.cli import main
from d2seg.cli.evaluate import losses, model_names, table
from d2seg.config import load_config
from d2seg.export import export_model
from d2seg.framework import (
    COCOEvaluator,
    DatasetCatalog,
    DefaultPredictor,
    MetadataCatalog,
    register_coco_instances,
)
from d2seg.images import load_image
from d2seg.predict import Predictor
from d2seg.predict.evaluation import Evaluation, evaluate, stored_megabytes
from tests.conftest import ROOT

NUCLEI = ROOT / "tests" / "data" / "nuclei"
SMALL = ["INPUT.MIN_SIZE_TEST", "160"]


@pytest.fixture
def few_file(tmp_path: Path) -> Path:
    """Annotations of five of the images, those of the smallest files."""
    truth = json.loads((NUCLEI / "instances_val.json").read_text())
    images = sorted(
        truth["images"], key=lambda image: (NUCLEI / "images" / image["file_name"]).stat().st_size
    )
    chosen = {image["id"] for image in images[:5]}
    truth["images"] = [image for image in truth["images"] if image["id"] in chosen]
    truth["annotations"] = [one for one in truth["annotations"] if one["image_id"] in chosen]
    (tmp_path / "few.json").write_text(json.dumps(truth))
    return tmp_path / "few.json"


@pytest.fixture
def few_images(few_file: Path) -> Iterator[str]:
    name = "nuclei_for_evaluation"
    register_coco_instances(name, {}, str(few_file), str(NUCLEI / "images"))
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def framework_accuracy(cfg: Any, dataset: str) -> dict[str, dict[str, float]]:
    predictor = DefaultPredictor(cfg)
    evaluator = COCOEvaluator(dataset, ("bbox", "segm"), distributed=False)
    evaluator.reset()
    with contextlib.redirect_stdout(io.StringIO()):
        for entry in DatasetCatalog.get(dataset):
            evaluator.process([entry], [predictor(load_image(entry["file_name"]))])
        results: dict[str, dict[str, float]] = evaluator.evaluate()
    return results


def test_models_and_files_are_judged_as_in_a_training(few_images: str, tmp_path: Path) -> None:
    cfg = load_config(DEMO_CONFIG_FILE, SMALL)
    expected = framework_accuracy(cfg, few_images)
    assert expected["segm"]["AP"] > 30
    model = evaluate(Predictor(cfg), few_images, name="model", output_dir=tmp_path / "found")
    assert (model.name, model.images) == ("model", 5)
    for kind in ("bbox", "segm"):
        assert model.precision[kind] == pytest.approx(expected[kind], nan_ok=True)
    written = json.loads((tmp_path / "found" / "coco_instances_results.json").read_text())
    assert len(written) == model.objects > 50
    assert 0 < model.seconds < 60
    eager = DefaultPredictor(cfg).model
    # Channels the other way round, which the file says of itself.
    export_model(eager, cfg, tmp_path, aten_only=False, input_order="RGB")
    file = evaluate(Predictor(tmp_path / "mobile_optimized.ptl", batch_size=2), few_images)
    for kind in ("bbox", "segm"):
        for name in ("AP", "AP50", "AP75"):
            assert file.precision[kind][name] == pytest.approx(expected[kind][name], abs=0.05)


def test_masks_of_the_image_are_judged_too(few_images: str, tmp_path: Path) -> None:
    cfg = load_config(DEMO_CONFIG_FILE, ["INPUT.MIN_SIZE_TEST", "96"])
    export_model(DefaultPredictor(cfg).model, cfg, tmp_path, aten_only=False, full_masks=True)
    found = evaluate(Predictor(tmp_path / "mobile_optimized.ptl"), few_images)
    assert found.precision["segm"]["AP"] > 10


def test_models_without_masks_have_boxes_only(few_images: str) -> None:
    overrides = ["INPUT.MIN_SIZE_TEST", "96", "MODEL.MASK_ON", "False"]
    found = evaluate(Predictor(DEMO_CONFIG_FILE, overrides=overrides, batch_size=3), few_images)
    assert list(found.precision) == ["bbox"]
    assert found.precision["bbox"]["AP"] > 10


def test_another_number_of_classes_is_named(few_images: str) -> None:
    predictor = Predictor(DEMO_CONFIG_FILE, class_names=["cell"])
    predictor._class_names = ("cell", "dust")
    message = r"The model has 2 classes, but data set 'nuclei_for_evaluation' has 1 \(nucleus\)"
    with pytest.raises(ValueError, match=message):
        evaluate(predictor, few_images)


def test_sizes_count_what_lies_beside_a_graph(tmp_path: Path) -> None:
    for name, size in (("a.xml", 1000), ("a.bin", 2000), ("b.onnx", 10), ("b.onnx.data", 500)):
        (tmp_path / name).write_bytes(bytes(size))
    assert stored_megabytes(tmp_path / "a.xml", "") == pytest.approx(0.003)
    assert stored_megabytes(tmp_path / "b.onnx", "") == pytest.approx(0.00051)
    assert stored_megabytes("config.yaml", str(tmp_path / "a.bin")) == pytest.approx(0.002)
    assert stored_megabytes("config.yaml", "d2seg://nuclei.safetensors") == pytest.approx(11, abs=1)
    assert stored_megabytes("config.yaml", "") is None


def row(name: str, box: float, mask: float | None, megabytes: float | None) -> Evaluation:
    precision = {"bbox": {"AP": box}}
    if mask is not None:
        precision["segm"] = {"AP": mask}
    return Evaluation(name, precision, 10, 100, 0.5, megabytes)


def test_table_has_differences_and_losses_are_stated() -> None:
    rows = [
        row("fp32", 53.0, 55.0, 11.3),
        row("int8", 52.3, 54.6, 3.1),
        row("boxes", 53.1, None, None),
    ]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(rows).splitlines()]
    assert lines[0] == [
        *("model", "MB", "bbox AP", "difference", "segm AP", "difference", "s / image")
    ]
    assert lines[3] == ["int8", "3.1", "52.30", "-0.70", "54.60", "-0.40", "0.500"]
    assert lines[4] == ["boxes", "-", "53.10", "+0.10", "-", "-", "0.500"]
    assert losses(rows) == ["int8 loses 0.70 of bbox AP."]


def test_models_are_named_as_shortly_as_tells_them_apart() -> None:
    assert model_names([None, "a/x.ptl", "b/y.pte"]) == ["shipped model", "x.ptl", "y.pte"]
    assert model_names(["a/x.ptl", "b/x.ptl"]) == ["a/x.ptl", "b/x.ptl"]


def test_the_command_compares_models(
    few_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = load_config(DEMO_CONFIG_FILE, SMALL)
    export_model(DefaultPredictor(cfg).model, cfg, tmp_path, aten_only=False, weights="half")
    models = [str(DEMO_CONFIG_FILE), str(tmp_path / "mobile_optimized.ptl")]
    data = ["--json", str(few_file), "--images", str(NUCLEI / "images")]
    output = ["--output", str(tmp_path / "out")]
    assert main(["evaluate", "--model", *models, *data, *output, *SMALL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:4]] == [
        "nuclei.yaml",
        "mobile_optimized.ptl",
    ]
    rows = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [one["images"] for one in rows] == [5, 5]
    assert rows[0]["precision"]["segm"]["AP"] > 30
    assert rows[1]["megabytes"] < rows[0]["megabytes"] * 0.6
    assert not any(isinstance(one, float) and math.isnan(one) for one in rows[0]["precision"])
    assert (tmp_path / "out" / "nuclei.yaml" / "coco_instances_results.json").is_file()
    assert not [name for name in DatasetCatalog.list() if name.startswith("evaluate:")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give the annotations and images (--json, --images), or a --dataset"),
        (["--json", "nowhere.json", "--images", "."], "There is no 'nowhere.json'"),
        (["--dataset", "no_such_set"], "no_such_set"),
        (["--dataset", "x", "--model", "model.tflite"], "no kind of model file that is known"),
        (["--dataset", "x", "--model", "nowhere.ptl"], "No model file at 'nowhere.ptl'"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("d2seg: error: ")
    assert message in error


@pytest.mark.slow
def test_reduced_weights_cost_less_than_half_a_point(tmp_path: Path, record_property: Any) -> None:
    name = "nuclei_for_weights"
    register_coco_instances(name, {}, str(NUCLEI / "instances_val.json"), str(NUCLEI / "images"))
    cfg = load_config(DEMO_CONFIG_FILE)
    model = DefaultPredictor(cfg).model
    precision = {}
    for weights in ("fp32", "half", "int8"):
        export_model(model, cfg, tmp_path, aten_only=False, weights=weights)
        found = evaluate(Predictor(tmp_path / "mobile_optimized.ptl"), name).precision
        precision[weights] = [found["bbox"]["AP"], found["segm"]["AP"]]
        figures = ", ".join(f"{value:.2f}" for value in precision[weights])
        record_property(f"{weights}: box and mask AP", figures)
    assert precision["fp32"] == pytest.approx([53.2, 55.5], abs=0.1)  # as detectron2's evaluation
    for weights in ("half", "int8"):
        assert precision[weights] == pytest.approx(precision["fp32"], abs=0.5)

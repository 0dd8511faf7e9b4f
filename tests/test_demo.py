"""The main job, as someone runs it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

import d2seg.report.demo as demo_steps
from d2seg.assets import DEMO_CONFIG_FILE, DEMO_IMAGES
from d2seg.cli import main
from d2seg.config import load_config
from d2seg.export import ParityError, ParityReport
from d2seg.export.parity import ImageParity
from d2seg.features import load
from d2seg.framework import DefaultPredictor
from d2seg.images import find_images, load_image
from d2seg.report.demo import SHOWN_SCORE

NUCLEI = {path.stem: path for path in find_images([DEMO_IMAGES])}
FIRST, SPARSE = "245b995878370ef4", "2cfa857e63be1b41"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--output", str(folder)]) == 0
    return folder


def test_every_image_is_drawn_beside_its_input(output: Path) -> None:
    for stem, path in NUCLEI.items():
        picture = load_image(output / "overlays" / f"{stem}.png")
        height, width = load_image(path).shape[:2]
        scale = picture.shape[0] // height
        assert picture.shape[0] == height * scale
        assert picture.shape[1] > 2 * width * scale
        # The input is grey; the instances, to the right, are not.
        assert np.ptp(picture[:, : width * scale], axis=2).max() == 0
        assert np.ptp(picture[:, width * scale :], axis=2).max() > 100


def test_the_results_are_those_of_the_predictor(output: Path) -> None:
    coco = COCO(str(output / "images.json"))
    results = coco.loadRes(str(output / "instances.json"))
    assert [image["file_name"] for image in coco.dataset["images"]] == [
        path.name for path in NUCLEI.values()
    ]
    predictor = DefaultPredictor(load_config(DEMO_CONFIG_FILE))
    number = list(NUCLEI).index(SPARSE) + 1
    expected = predictor(load_image(NUCLEI[SPARSE], "BGR"))["instances"]
    found = results.loadAnns(results.getAnnIds(imgIds=[number]))
    assert len(found) == len(expected) > 5
    for annotation, mask in zip(found, expected.pred_masks.numpy(), strict=True):
        assert annotation["category_id"] == 1
        assert np.array_equal(results.annToMask(annotation).astype(bool), mask)


def test_features_of_every_image_and_pictures_of_one(output: Path) -> None:
    for stem in NUCLEI:
        tensors, description = load(output / "features" / f"{stem}.safetensors")
        assert description["image"]["name"] == f"{stem}.png"
        assert len(tensors["mask_pooler"]) == len(tensors["instances.boxes"]) > 0
    names = sorted(path.name for path in (output / "features").glob("*.png"))
    largest = "3441821ebea04fac"
    assert names == [
        f"{largest}_{part}.png"
        for part in ("backbone.p2", "backbone.p3", "backbone.p4", "mask_pooler")
    ]


def test_the_mobile_file_runs(output: Path) -> None:
    model = torch.jit.load(output / "mobile_optimized.ptl")
    image = torch.from_numpy(load_image(NUCLEI[SPARSE], "BGR").transpose(2, 0, 1)).float()
    boxes, _, masks, scores, image_size = model(image)
    assert len(boxes) == len(masks) == len(scores) > 5
    assert image_size.tolist() == [256, 256]


def test_the_page_shows_what_was_found(output: Path) -> None:
    html = (output / "index.html").read_text()
    results = json.loads((output / "instances.json").read_text())
    shown = sum(result["score"] >= SHOWN_SCORE for result in results)
    assert f"<dd>{shown}</dd>" in html
    assert all(f"<b>{path.name}</b>" in html for path in NUCLEI.values())
    assert "Finds the same instances" in html
    assert "d2seg demo --config-file d2seg://nuclei.yaml" in html
    assert str(DEMO_CONFIG_FILE.parent) not in html


def test_own_images_own_config_and_overrides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(DEMO_CONFIG_FILE.read_text())
    image = tmp_path / "photos" / "wide.png"
    image.parent.mkdir()
    Image.open(NUCLEI[FIRST]).crop((0, 0, 200, 90)).save(image)
    output = tmp_path / "out"
    arguments = ["--config-file", str(config), "--input", str(image.parent)]
    overrides = ["INPUT.MIN_SIZE_TEST", "96", "TEST.DETECTIONS_PER_IMAGE", "4"]
    assert main(["demo", *arguments, "--output", str(output), *overrides]) == 0
    assert load(output / "features" / "wide.safetensors")[1]["image"]["network_size_hw"] == [
        96,
        213,
    ]
    assert len(json.loads((output / "instances.json").read_text())) == 4
    html = (output / "index.html").read_text()
    assert "d2seg runs mine" in html
    assert f"--config-file {config}" in html
    assert " ".join(overrides) in html
    assert f"Open {output / 'index.html'}" in capsys.readouterr().out


def test_an_image_without_instances_gives_a_page_too(tmp_path: Path) -> None:
    Image.new("L", (80, 64)).save(tmp_path / "black.png")
    output = tmp_path / "out"
    assert main(["demo", "--input", str(tmp_path / "black.png"), "--output", str(output)]) == 0
    assert json.loads((output / "instances.json").read_text()) == []
    html = (output / "index.html").read_text()
    assert "80 x 64 pixels, 0 instances" in html
    assert "Single objects" not in html


def test_a_mobile_file_that_differs_is_said_on_the_page_and_by_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = ParityReport([ImageParity((256, 200), 9, 8, 7, 1.5, 0.1, 0.2, 0.9)])

    def differ(*_: object, **__: object) -> None:
        raise ParityError(report)

    monkeypatch.setattr(demo_steps, "export_model", differ)
    arguments = ["--input", str(NUCLEI[SPARSE]), "--output", str(tmp_path)]
    assert main(["demo", *arguments]) == 1
    html = (tmp_path / "index.html").read_text()
    assert "Differs from the model" in html
    assert "<td>200 x 256</td><td>differs</td><td>9</td><td>8</td><td>7</td>" in html
    assert "mobile file, verified" not in html
    assert "DIFFERS" in capsys.readouterr().out


def test_a_model_without_masks_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main(["demo", "--output", str(output), "MODEL.MASK_ON", "False"]) == 1
    assert "MODEL.MASK_ON must be True" in capsys.readouterr().err
    assert not output.exists()

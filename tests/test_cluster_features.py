"""Clusters of the annotated objects of photographs."""

import csv
import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from d2seg.assets import DEMO_CONFIG_FILE
from d2seg.config import load_config
from tests.conftest import ROOT

MINI = ROOT / "tests" / "data" / "coco_mini"
JSON = MINI / "instances.json"
OPTIONS = ("--config-file", str(DEMO_CONFIG_FILE), "--json", str(JSON))
FREQUENT = ("--min-objects", "3", "--min-side", "20")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    pytest.importorskip("sklearn", reason="clusters need scikit-learn")
    spec = spec_from_file_location("cluster_features", ROOT / "tools" / "cluster_features.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(tool: ModuleType, output: Path, *more: str) -> None:
    tool.main([*OPTIONS, "--image-root", str(MINI / "images"), "--output", str(output), *more])


def test_objects_are_clustered(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tool, tmp_path / "a", "--clusters", "4", *FREQUENT)
    printed = capsys.readouterr().out
    assert "14 objects of 3 categories in 7 images, 4 clusters of box_head (256 numbers" in printed
    rows = list(csv.DictReader((tmp_path / "a" / "objects.csv").read_text().splitlines()))
    assert len(rows) == 14
    assert {row["cluster"] for row in rows} == {"0", "1", "2", "3"}
    content = json.loads(JSON.read_text())
    by_id = {annotation["id"]: annotation for annotation in content["annotations"]}
    names = {category["id"]: category["name"] for category in content["categories"]}
    for row in rows:
        annotation = by_id[int(row["annotation_id"])]
        left, top, width, height = annotation["bbox"]
        assert names[annotation["category_id"]] == row["category"]
        corners = [float(row[name]) for name in ("x0", "y0", "x1", "y1")]
        assert corners == pytest.approx([left, top, left + width, top + height])
    agreement = json.loads((tmp_path / "a" / "agreement.json").read_text())
    assert agreement["found"].keys() == agreement["chance"].keys()
    assert f"purity{agreement['found']['purity']:29.3f}" in printed


def test_the_result_is_the_same_each_time(tool: ModuleType, tmp_path: Path) -> None:
    for name in ("a", "b"):
        options = ("--stage", "box_pooler", *FREQUENT, "MODEL.WEIGHTS", "")
        run(tool, tmp_path / name, *options)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["agreement.json", "clusters.png", "objects.csv"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_small_objects_and_rare_categories_are_left_out(tool: ModuleType) -> None:
    groups = tool.read_objects(str(JSON), 0, 1)
    assert sum(map(len, groups)) == 21
    large = [one for group in tool.read_objects(str(JSON), 100, 1) for one in group]
    sides = [
        (one.box_xyxy[2] - one.box_xyxy[0], one.box_xyxy[3] - one.box_xyxy[1]) for one in large
    ]
    assert len(large) < 21
    assert min(map(min, sides)) >= 100
    frequent = [one.category for group in tool.read_objects(str(JSON), 0, 4) for one in group]
    assert set(frequent) == {"teddy bear", "person"}
    with pytest.raises(ValueError, match=r"has 1 categories with at least 5 object\(s\) of 0 pix"):
        tool.read_objects(str(JSON), 0, 5)


def test_crowds_are_left_out(tool: ModuleType, tmp_path: Path) -> None:
    content = json.loads(JSON.read_text())
    crowd = content["annotations"][0]
    crowd["iscrowd"] = 1
    path = tmp_path / "crowd.json"
    path.write_text(json.dumps(content))
    ids = [one.annotation_id for group in tool.read_objects(str(path), 0, 1) for one in group]
    assert len(ids) == 20
    assert crowd["id"] not in ids


def test_boxes_are_scaled_with_the_image(tool: ModuleType, tmp_path: Path) -> None:
    Image.new("RGB", (60, 40), (255, 0, 0)).save(tmp_path / "red.png")
    seen: dict[str, Any] = {}

    class Extractor:
        stages = ("box_head",)

        def extract(self, images: list[Any], boxes: list[Tensor]) -> list[dict[str, Tensor]]:
            seen.update(size=images[0]["image"].shape, boxes=boxes)
            return [{"box_head": torch.ones(len(boxes[0]), 4)}]

    cfg = load_config(DEMO_CONFIG_FILE)
    cfg.INPUT.MIN_SIZE_TEST = 80
    one = tool.Annotated("red.png", 1, "square", (10.0, 20.0, 30.0, 40.0))
    vectors, crops = tool.describe_objects([one], tmp_path, Extractor(), cfg)
    assert seen["size"] == (3, 80, 120)
    assert seen["boxes"][0].tolist() == [[20.0, 40.0, 60.0, 80.0]]
    assert np.allclose(vectors, 0.5)
    assert (crops[0] == [255, 0, 0]).all()  # RGB, though the model wants BGR


def test_a_row_of_the_picture_is_a_cluster(tool: ModuleType) -> None:
    crops = [np.full((84, 84, 3), value, np.uint8) for value in (10, 20, 30)]
    objects = [tool.Annotated("a.png", i, "square", (0.0, 0.0, 1.0, 1.0)) for i in range(3)]
    vectors = np.array([[0.8, 0.6], [1.0, 0.0], [0.0, 1.0]], np.float32)
    picture = np.asarray(tool.draw_clusters(objects, crops, vectors, np.array([0, 0, 1])))
    row = picture.shape[0] // 2
    inside = 84 + tool.CAPTION_PIXELS - 1
    assert {picture[inside, 0, 0], picture[inside, 84 + 8, 0]} == {10, 20}
    assert picture[row + inside, 0, 0] == 30
    assert picture[row + inside, 84 + 8, 0] == 255


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--stage", "box_haed"], "Unknown stage 'box_haed'. Did you mean box_head"),
        (["--stage", "proposals"], "The stage 'proposals' has no row for each object; use one"),
        (["--clusters", "99"], "from 2 to that of objects, which is 14; got 99"),
        (["--min-objects", "99"], "has 0 categories with at least 99"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(
    tool: ModuleType, tmp_path: Path, options: list[str], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        run(tool, tmp_path / "out", *FREQUENT, *options)
    assert not (tmp_path / "out").exists()

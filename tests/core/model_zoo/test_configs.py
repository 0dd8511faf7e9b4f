"""The shipped configs, resolved, against what real detectron2 resolves under their names."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from d2seg.core import model_zoo
from d2seg.core.config.errors import leaf_keys

DATA = Path(__file__).parents[2] / "data" / "config" / "resolved.json"
CONFIGS = Path(__file__).parents[3] / "configs"
RECORDED = [
    "COCO-Detection/faster_rcnn_R_50_FPN_1x",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x",
    "Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic",
    "Misc/mask_rcnn_R_50_FPN_3x_gn",
    "Misc/mask_rcnn_R_50_FPN_3x_syncbn",
]
SHIPPED = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml"))


def resolve(name: str, *overrides: str) -> dict[str, Any]:
    """Return every key of a shipped config, nested sections joined by dots."""
    cfg = model_zoo.get_config(name)
    cfg.merge_from_list(overrides)
    tree = yaml.safe_load(cfg.dump())

    def value(key: str) -> Any:
        node = tree
        for part in key.split("."):
            node = node[part]
        return node

    return {key: value(key) for key in leaf_keys(tree)}


@pytest.mark.parametrize("name", RECORDED)
def test_resolved_config_is_that_of_detectron2(name: str) -> None:
    data = json.loads(DATA.read_text())
    expected = {**data["resolved"], **data["differences"].get(name, {})}
    resolved = resolve(f"{name}.yaml", "MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu")
    assert resolved == expected
    assert {k: type(v) for k, v in resolved.items()} == {k: type(v) for k, v in expected.items()}


@pytest.mark.parametrize(
    "folder", ["COCO-Detection/faster_rcnn", "COCO-InstanceSegmentation/mask_rcnn"]
)
def test_relatives_differ_in_depth_groups_and_schedule_only(folder: str) -> None:
    base = resolve(f"{folder}_R_50_FPN_1x.yaml")
    schedule = {"SOLVER.MAX_ITER": 270000, "SOLVER.STEPS": [210000, 250000]}
    deep = {"MODEL.RESNETS.DEPTH": 101}
    grouped = {"MODEL.RESNETS.NUM_GROUPS": 32, "MODEL.RESNETS.WIDTH_PER_GROUP": 8}
    weights = "detectron2://ImageNetPretrained/"
    expected = {
        "R_50_FPN_3x": schedule,
        "R_101_FPN_3x": {**schedule, **deep, "MODEL.WEIGHTS": weights + "MSRA/R-101.pkl"},
        "X_101_32x8d_FPN_3x": {
            **schedule,
            **deep,
            **grouped,
            "MODEL.RESNETS.STRIDE_IN_1X1": False,
            "MODEL.PIXEL_STD": [57.375, 57.12, 58.395],
            "MODEL.WEIGHTS": weights + "FAIR/X-101-32x8d.pkl",
        },
    }
    for name, differences in expected.items():
        other = resolve(f"{folder}_{name}.yaml")
        assert {k: v for k, v in other.items() if v != base[k]} == differences


def test_from_scratch_freezes_nothing_and_loads_nothing() -> None:
    base = resolve("Misc/mask_rcnn_R_50_FPN_3x_gn.yaml")
    scratch = resolve("Misc/scratch_mask_rcnn_R_50_FPN_3x_gn.yaml")
    differences = {k: v for k, v in scratch.items() if v != base[k]}
    assert differences == {"MODEL.BACKBONE.FREEZE_AT": 0, "MODEL.WEIGHTS": ""}


def test_every_shipped_config_is_in_the_table() -> None:
    table = (CONFIGS / "README.md").read_text()
    missing = [n for n in SHIPPED if "/" in n and f"`{n.removesuffix('.yaml')}`" not in table]
    assert SHIPPED
    assert not missing


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_config_loads(name: str) -> None:
    assert model_zoo.get_config(name).VERSION == 2

"""The shipped configs, resolved, against what real detectron2 resolves under their names."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from d2seg.core import model_zoo
from d2seg.core.config.errors import leaf_keys
from d2seg.core.modeling import META_ARCH_REGISTRY
from tests.reference import cases

DATA = Path(__file__).parents[2] / "data" / "config" / "resolved.json"
CONFIGS = Path(__file__).parents[3] / "configs"
RECORDED = sorted(name.replace("__", "/") for name in cases.CASES)
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


def table() -> dict[str, list[str]]:
    """Return the cells of each line of the table."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (CONFIGS / "README.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    return {cells[0].strip("`"): cells[1:] for cells in lines}


def test_the_table_has_every_published_config_and_no_other() -> None:
    names = {name.removesuffix(".yaml") for name in SHIPPED if "Base-" not in name}
    assert set(table()) == names
    assert len(names) == 86


@pytest.mark.parametrize("name", [name for name in SHIPPED if "Base-" not in name])
def test_every_shipped_config_builds_the_model_of_the_table(name: str) -> None:
    cfg = model_zoo.get_config(name)
    assert cfg.VERSION == 2
    with torch.device("meta"):  # shapes without values: the largest has 190 million parameters
        model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    parameters, _, trained, verified = table()[name.removesuffix(".yaml")]
    count = sum(parameter.numel() for parameter in model.parameters())
    assert f"{count / 1e6:.1f}" == parameters
    assert trained == ("yes" if model_zoo.is_trained(name) else "-")
    recorded = name.removesuffix(".yaml") in RECORDED
    assert verified == ("recorded" if recorded else "builds")


@pytest.mark.parametrize(
    ("name", "opts"),
    [
        ("LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x", {"NUM_CLASSES": 1203}),
        ("LVISv0.5-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_1x", {"NUM_CLASSES": 1230}),
        ("Cityscapes/mask_rcnn_R_50_FPN", {"NUM_CLASSES": 8}),
        ("PascalVOC-Detection/faster_rcnn_R_50_C4", {"NUM_CLASSES": 20}),
        ("quick_schedules/keypoint_rcnn_R_50_FPN_training_acc_test", {"NUM_CLASSES": 1}),
    ],
)
def test_classes_are_those_of_the_data_set(name: str, opts: dict[str, int]) -> None:
    assert opts.items() <= model_zoo.get_config(f"{name}.yaml").MODEL.ROI_HEADS.items()

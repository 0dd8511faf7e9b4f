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

DATA = Path(__file__).parents[2] / "data" / "config"
CONFIGS = Path(__file__).parents[3] / "configs"
# What the published files set beside a recorded config, read from the files themselves.
PUBLISHED: dict[str, dict[str, Any]] = json.loads((DATA / "published.json").read_text())
RECORDED = sorted(name.replace("__", "/") for name in cases.CASES)
OWN = "nuclei.yaml"  # not detectron2's: it has the plugin's keys
SHIPPED = sorted(
    path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml") if path.name != OWN
)


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
    data = json.loads((DATA / "resolved.json").read_text())
    expected = {**data["resolved"], **data["differences"].get(name, {})}
    resolved = resolve(f"{name}.yaml", "MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu")
    assert resolved == expected
    assert {k: type(v) for k, v in resolved.items()} == {k: type(v) for k, v in expected.items()}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_configs_start_from_the_published_backbone(name: str) -> None:
    """The record has no weights."""
    others = {"Misc/mask_rcnn_R_50_FPN_3x_gn": "catalog://ImageNetPretrained/FAIR/R-50-GN"}
    expected = others.get(name, "detectron2://ImageNetPretrained/MSRA/R-50.pkl")
    weights = model_zoo.get_config(f"{name}.yaml").MODEL.WEIGHTS
    assert weights == expected


@pytest.mark.parametrize("name", PUBLISHED)
def test_config_differs_from_a_recorded_one_as_the_published_files_do(name: str) -> None:
    base = resolve(f"{PUBLISHED[name]['like']}.yaml")
    expected = {**base, **PUBLISHED[name]["differences"]}
    resolved = resolve(f"{name}.yaml")
    assert resolved == expected
    assert {k: type(v) for k, v in resolved.items()} == {k: type(v) for k, v in expected.items()}


def test_every_config_is_recorded_or_compared_with_one_that_is() -> None:
    names = {name.removesuffix(".yaml") for name in SHIPPED if "Base-" not in name}
    assert names == {*RECORDED, *PUBLISHED}
    assert {entry["like"] for entry in PUBLISHED.values()} <= set(RECORDED)


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

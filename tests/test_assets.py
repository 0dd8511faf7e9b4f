"""The shipped model is the one that detectron2 trained, and its images are as documented."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open

from d2seg.assets import DEMO_CONFIG_FILE, DEMO_IMAGES, FOLDER
from d2seg.config import load_config
from d2seg.framework import get_cfg
from d2seg.images import find_images, load_image

RECORDED = Path(__file__).parent / "data" / "nuclei_detectron2"


def leaves(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested keys to ``MODEL.DEVICE`` and the like."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        nested = isinstance(value, dict)
        flat |= leaves(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def resolved(path: Path) -> dict[str, Any]:
    return leaves(yaml.safe_load(load_config(path).dump()))


def test_the_config_is_the_recorded_one_but_for_the_weights() -> None:
    shipped, recorded = resolved(DEMO_CONFIG_FILE), resolved(RECORDED / "config.yaml")
    assert {key for key in shipped if shipped[key] != recorded[key]} == {"MODEL.WEIGHTS"}
    assert shipped.keys() == recorded.keys()


def test_the_config_says_only_what_differs_from_the_defaults() -> None:
    written = leaves(yaml.safe_load(DEMO_CONFIG_FILE.read_text()))
    defaults = leaves(yaml.safe_load(get_cfg().dump()))
    assert [key for key in written if written[key] == defaults[key]] == ["VERSION"]


def test_the_weights_are_those_of_the_checkpoint() -> None:
    expected = torch.load(RECORDED / "model_final.pth", weights_only=True)["model"]
    with safe_open(FOLDER / "nuclei.safetensors", framework="pt") as file:
        assert set(file.keys()) == set(expected)
        assert all(torch.equal(file.get_tensor(name), expected[name]) for name in expected)
        assert json.loads(file.metadata()["classes"]) == ["nucleus"]


def test_the_readme_lists_the_images_and_their_sizes() -> None:
    text = (FOLDER / "README.md").read_text()
    images = find_images([DEMO_IMAGES])
    assert len(images) == 6
    for path in images:
        height, width = load_image(path).shape[:2]
        assert f"| `{path.name}` | {width} x {height} |" in text

"""The costs in the table of configs/README.md."""

from importlib.util import module_from_spec, spec_from_file_location
from math import prod
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2seg.core import model_zoo
from tests.conftest import ROOT

CHEAP = "COCO-Detection/rpn_R_50_C4_1x"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = spec_from_file_location("config_table", ROOT / "tools" / "config_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def count_by_hooks(model: nn.Module, inputs: Any) -> int:
    """Count the multiply-adds of every layer that has a weight matrix, slowly but surely."""
    total = 0

    def add(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal total
        per_value = prod(layer.weight.shape[1:])  # of one output value
        total += output.numel() * per_value

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(add)
    with torch.no_grad():
        model(inputs)
    return total


def test_costs_are_those_of_the_layers(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proposals, boxes, masks: an image small enough for a test."""
    monkeypatch.setattr(tool, "SIZE_HW", (96, 160))
    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
    cfg.merge_from_list(["MODEL.RPN.POST_NMS_TOPK_TEST", 20, "TEST.DETECTIONS_PER_IMAGE", 5])
    parameters, gflops = tool.measure(cfg.clone())
    workload = tool.Workload(cfg)
    assert parameters == sum(p.numel() for p in workload.parameters()) / 1e6
    counted = count_by_hooks(workload, [{"image": torch.zeros(3, 96, 160)}])
    upsampling = 5 * 256 * 28 * 28 * 256  # a 2x2 transposed convolution in steps of 2
    assert gflops == pytest.approx((counted + upsampling) / 1e9, rel=0.01)


def test_the_table_has_what_is_measured(tool: ModuleType) -> None:
    lines = (ROOT / "configs" / "README.md").read_text().splitlines()
    assert tool.row(CHEAP, {}) in lines


def test_the_table_has_every_folder(tool: ModuleType) -> None:
    folders = {path.parent.name for path in (ROOT / "configs").glob("*/*.yaml")}
    assert set(tool.TITLES) == folders

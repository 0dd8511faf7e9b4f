"""Whole models recorded from detectron2: the case files, and the models and inputs they used."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from d2seg.core.config import CfgNode, get_cfg
from d2seg.core.modeling import build_model
from d2seg.core.structures import BitMasks, Boxes, Instances, Keypoints
from tests.reference import deterministic

FOLDER = Path(__file__).parents[1] / "data" / "cases"
CASES = sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz"))


@cache
def load_case(name: str) -> dict[str, Any]:
    """Read one recorded case."""
    with gzip.open(FOLDER / f"{name}.json.gz") as file:
        return json.load(file)


def is_trained(name: str) -> bool:
    """Tell whether a training step of this case was recorded."""
    return "training" in load_case(name)


def case_config(name: str, opts: list[Any] | None = None) -> CfgNode:
    """Return the config of a case, as resolved by detectron2."""
    cfg = get_cfg()
    cfg.merge_from_other_cfg(CfgNode.load_cfg(load_case(name)["config_dump"]))
    cfg.merge_from_list(opts or [])
    return cfg


def case_model(name: str, opts: list[Any] | None = None) -> nn.Module:
    """Build the model of a case with its deterministic weights, in evaluation mode."""
    cfg = case_config(name, opts)
    model = build_model(cfg).eval()
    fill_deterministic(model, pixel_std_is_one=all(std == 1 for std in cfg.MODEL.PIXEL_STD))
    return model


def fill_deterministic(model: nn.Module, *, pixel_std_is_one: bool) -> None:
    """Give every parameter and buffer the value that follows from its name."""
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    values = deterministic.state_dict(shapes, pixel_std_is_one=pixel_std_is_one)
    model.load_state_dict({name: torch.as_tensor(value) for name, value in values.items()})


def picture(seed: int, height: int, width: int) -> Tensor:
    """Return the deterministic image as the model takes it: (3, height, width) float, BGR."""
    pixels = deterministic.image(seed, height, width).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def ground_truth(
    seed: int, height: int, width: int, num_classes: int, num_keypoints: int = 0
) -> Instances:
    """Return the objects of the deterministic image, with bitmasks.

    With keypoints all objects are of class 0; the points are uniform in their boxes, and visible.
    """
    made = deterministic.annotations(seed, height, width, num_classes)
    boxes = made["boxes"]
    targets = Instances(
        (height, width),
        gt_boxes=Boxes(torch.from_numpy(boxes)),
        gt_classes=torch.from_numpy(made["classes"]),
        gt_masks=BitMasks(torch.from_numpy(made["masks"])),
    )
    if num_keypoints:
        random = np.random.RandomState(seed + 1).random_sample((len(boxes), num_keypoints, 2))
        points = boxes[:, None, :2] + random * (boxes[:, None, 2:] - boxes[:, None, :2])
        visible = np.full((len(boxes), num_keypoints, 1), 2.0)
        targets.gt_keypoints = Keypoints(np.concatenate([points, visible], axis=2))
        targets.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
    return targets


def semantic_map(seed: int, height: int, width: int) -> Tensor:
    """Return the classes of the deterministic pixels, (height, width) int64: object i is i + 1."""
    masks = deterministic.annotations(seed, height, width, 1)["masks"]
    classes = torch.zeros(height, width, dtype=torch.int64)
    for index, mask in enumerate(masks, start=1):
        classes[torch.from_numpy(mask)] = index
    return classes


def given_proposals(seed: int, height: int, width: int, shift: float = 0.0) -> Instances:
    """Return the annotated boxes, moved by some pixels, as proposals."""
    boxes = torch.from_numpy(deterministic.annotations(seed, height, width, 1)["boxes"])
    return Instances(
        (height, width),
        proposal_boxes=Boxes(boxes + shift),
        objectness_logits=torch.ones(len(boxes)),
    )

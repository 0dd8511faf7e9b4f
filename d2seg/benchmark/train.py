"""Task ``train``: one step of a training, from an image to updated weights, by all that can."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from d2seg.benchmark.contestants import (
    DETECTRON2,
    NOT_INSTALLED,
    TORCHVISION,
    Entry,
    PredictOne,
    has_detectron2,
)
from d2seg.benchmark.subject import Subject
from d2seg.benchmark.torchvision_model import torchvision_model, why_not_torchvision
from d2seg.benchmark.work import prepare_bgr_image
from d2seg.config import load_config
from d2seg.core.runtime.untrusted.torch_files import load_torch
from d2seg.framework import (
    FRAMEWORK,
    BitMasks,
    Boxes,
    CfgNode,
    EventStorage,
    Instances,
    build_model,
    build_optimizer,
)

KIND = "train"
TRUTH_NAME = "truth.json"
_HALF = ("SOLVER.AMP.ENABLED", "True", "TRAIN.AMP_DTYPE", "bfloat16")

Losses = dict[str, Tensor]


class Truth(NamedTuple):
    """Objects of an image.

    Attributes:
        boxes: (N, 4) float, XYXY absolute pixels.
        classes: (N,) int64.
        masks: (N, H, W) bool.
    """

    boxes: Tensor
    classes: Tensor
    masks: Tensor


def list_steps(subject: Subject, objects: int) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Name all who can train a model, and make up the objects that they train on.

    Args:
        subject: The model and the images.
        objects: How many each image gets, of random places and sizes.

    Returns:
        The contestants, the first to compare with; and who is left out, with the reason.

    Raises:
        ValueError: The model is not trained on boxes and masks alone, or there are no objects.
    """
    if not subject.cfg.MODEL.MASK_ON or subject.cfg.MODEL.KEYPOINT_ON:
        raise ValueError(
            "The task train makes up boxes and masks to train on: it needs MODEL.MASK_ON True and "
            "MODEL.KEYPOINT_ON False."
        )
    if objects < 1:
        raise ValueError(f"The number of objects must be at least 1, got {objects}.")
    chance = np.random.default_rng(0)
    radii = chance.uniform(0.02, 0.2, (objects, 2))
    centres = radii + chance.uniform(size=(objects, 2)) * (1 - 2 * radii)
    classes = chance.integers(subject.cfg.MODEL.ROI_HEADS.NUM_CLASSES, size=objects)
    ellipses = np.concatenate([centres, radii, classes[:, None]], axis=1)
    (subject.folder / TRUTH_NAME).write_text(json.dumps(ellipses.tolist()), encoding="utf-8")

    config = str(subject.config_file)
    entries = [Entry(FRAMEWORK, KIND, config), Entry(f"{FRAMEWORK}, bfloat16", KIND, config, _HALF)]
    left_out = []
    if reason := why_not_torchvision(subject.cfg):
        left_out.append((TORCHVISION, reason))
    else:
        entries.insert(0, Entry(TORCHVISION, f"{KIND} {TORCHVISION}", config))
    if FRAMEWORK == DETECTRON2:
        left_out.append(("core", "detectron2 serves; set D2SEG_FRAMEWORK=core to time its steps"))
    elif has_detectron2():
        reason = "core serves; set D2SEG_FRAMEWORK=detectron2 to time steps of detectron2"
        left_out.append((DETECTRON2, reason))
    else:
        left_out.append((DETECTRON2, NOT_INSTALLED))
    return entries, left_out


def open_step(entry: Entry) -> PredictOne:
    """Load a model; return what trains it on an image for one step and tells its objects' number.

    The learning rate is 0, so that every step does the same work on the same weights.
    """
    cfg = load_config(entry.config_file, entry.overrides)
    ellipses = json.loads(Path(entry.config_file).with_name(TRUTH_NAME).read_text(encoding="utf-8"))
    truth = lru_cache(lambda size_hw: _draw(ellipses, size_hw))
    make = _own_model if entry.kind == KIND else _torchvision_model
    model, to_losses = make(cfg, truth)
    optimizer = build_optimizer(cfg, model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    half = torch.bfloat16 if cfg.SOLVER.AMP.ENABLED else None

    def run(image: np.ndarray) -> int:
        torch.manual_seed(0)
        optimizer.zero_grad()
        with torch.autocast(cfg.MODEL.DEVICE, half, enabled=half is not None):
            losses = to_losses(image)
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        optimizer.step()
        total.item()  # a GPU is done by then
        return len(ellipses)

    return run


def _draw(ellipses: list[list[float]], size_hw: tuple[int, int]) -> Truth:
    """Draw ellipses (x, y, radius, radius, class), in shares of the image, into one of a size."""
    height, width = size_hw
    values = torch.tensor(ellipses)
    centres, radii = (values[:, i : i + 2] * torch.tensor([width, height]) for i in (0, 2))
    x = (torch.arange(width) + 0.5 - centres[:, :1]) / radii[:, :1]  # [N,W]
    y = (torch.arange(height) + 0.5 - centres[:, 1:]) / radii[:, 1:]  # [N,H]
    masks = x.square()[:, None, :] + y.square()[:, :, None] <= 1
    boxes = torch.cat([centres - radii, centres + radii], dim=1)
    return Truth(boxes, values[:, 4].long(), masks)


def _own_model(
    cfg: CfgNode, truth: Callable[[tuple[int, int]], Truth]
) -> tuple[Any, Callable[[np.ndarray], Losses]]:
    model = build_model(cfg)
    model.load_state_dict(_weights(cfg))

    def losses(image: np.ndarray) -> Losses:
        one = prepare_bgr_image(image, cfg)
        size_hw = (one["image"].shape[1], one["image"].shape[2])
        boxes, classes, masks = truth(size_hw)
        instances = Instances(
            size_hw, gt_boxes=Boxes(boxes), gt_classes=classes, gt_masks=BitMasks(masks)
        )
        with EventStorage():
            computed: Losses = model([{**one, "instances": instances}])
        return computed

    return model.train(), losses


def _torchvision_model(
    cfg: CfgNode, truth: Callable[[tuple[int, int]], Truth]
) -> tuple[Any, Callable[[np.ndarray], Losses]]:
    model: Any = torchvision_model(cfg, _weights(cfg)).to(cfg.MODEL.DEVICE)
    body = model.backbone.body
    stages = [body.conv1, body.layer1, body.layer2, body.layer3, body.layer4]
    for stage in stages[: cfg.MODEL.BACKBONE.FREEZE_AT]:
        stage.requires_grad_(False)

    def losses(image: np.ndarray) -> Losses:
        rgb = torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1)))
        boxes, classes, masks = truth((image.shape[0], image.shape[1]))
        target = {"boxes": boxes, "labels": classes + 1, "masks": masks.to(torch.uint8)}
        on_device = {name: value.to(cfg.MODEL.DEVICE) for name, value in target.items()}
        computed: Losses = model([rgb.to(cfg.MODEL.DEVICE).float() / 255], [on_device])
        return computed

    return model.train(), losses


def _weights(cfg: CfgNode) -> dict[str, Tensor]:
    stored = load_torch(cfg.MODEL.WEIGHTS, mapped=True)
    weights: dict[str, Tensor] = stored["model"]
    return weights

"""What the contestants work with: images in memory and one model."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from d2seg.features import FeatureExtractor
from d2seg.framework import CfgNode, DetectionCheckpointer, build_model
from d2seg.images import load_image, prepare_image

Batches = list[list[dict[str, Any]]]
"""Inputs of a model, batch by batch."""


def load_model(cfg: CfgNode) -> nn.Module:
    """Build the model of a config in evaluation mode, with the weights that it names.

    Without ``MODEL.WEIGHTS`` they are random, and the same each time.
    """
    torch.manual_seed(0)
    model: nn.Module = build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model.eval()


def available_stages(model: nn.Module) -> list[str]:
    """List the stages of a model, from the first to the last to run."""
    return list(FeatureExtractor(model, ["backbone"]).available_stages)


def prepare_batches(paths: Sequence[Path], cfg: CfgNode, batch_size: int) -> Batches:
    """Read images and resize them as the model wants them.

    Args:
        paths: Image files.
        cfg: The config of the model.
        batch_size: Images in a batch; the last batch may have fewer.

    Raises:
        ValueError: ``batch_size`` is below 1, or a file is not an image.
    """
    if batch_size < 1:
        raise ValueError(f"The batch size must be at least 1, got {batch_size}.")
    inputs = [prepare_image(load_image(path, cfg.INPUT.FORMAT), cfg) for path in paths]
    return [inputs[i : i + batch_size] for i in range(0, len(inputs), batch_size)]


def in_channel_order(image: np.ndarray, input_format: str) -> np.ndarray:
    """Return an image (H, W, 3) BGR in the order that ``INPUT.FORMAT`` says, BGR or RGB."""
    return image if input_format == "BGR" else image[:, :, ::-1]


def prepare_bgr_image(image: np.ndarray, cfg: CfgNode) -> dict[str, Any]:
    """Make an image (H, W, 3) uint8 BGR one input of the model of a config."""
    return prepare_image(in_channel_order(image, cfg.INPUT.FORMAT), cfg)


def predicting(model: Any) -> AbstractContextManager[None]:
    """Return a block in which parts of a model compute as all of it does when it predicts.

    ``MODEL.INFERENCE`` holds for calls of the whole model; detectron2's has nothing like it.
    """
    options = getattr(model, "inference_options", None)
    applied: AbstractContextManager[None] = (
        nullcontext() if options is None else options.applied(model.device)
    )
    return applied


def describe_work(model: nn.Module, batches: Batches) -> dict[str, Any]:
    """Return the numbers that the cost depends on, as JSON can hold them.

    Returns:
        ``images``, ``batch_size``, ``network_sizes_hw`` of each image, and the number of
        ``objects`` that the model detects in all of them (None for a model without detections).
    """
    return {
        "images": sum(len(batch) for batch in batches),
        "batch_size": max(len(batch) for batch in batches),
        "network_sizes_hw": [list(item["image"].shape[1:]) for batch in batches for item in batch],
        "objects": _count_objects(model, batches),
    }


def _count_objects(model: nn.Module, batches: Batches) -> int | None:
    if "instances" not in available_stages(model):
        return None
    extractor = FeatureExtractor(model, ["instances"])
    found = [features for batch in batches for features in extractor.extract(batch)]
    return sum(len(features["instances.boxes"]) for features in found)

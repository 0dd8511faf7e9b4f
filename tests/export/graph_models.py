"""Thin models as ONNX and OpenVINO files, each written once in a test process."""

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import openvino
import torch
import torch.nn.functional as F
from torch import Tensor

from d2seg.export.deployable import DeployableRCNN
from d2seg.export.description import describe, read_description
from d2seg.export.onnx.export import lay_out
from d2seg.export.onnx.file import save_onnx
from d2seg.export.openvino.file import openvino_files, save_openvino
from tests.export.models import pictures
from tests.export.test_families import family

THRESHOLDS = {
    "Mask R-CNN C4": 0.5,
    "masks and keypoints": 0.9,
    "Faster R-CNN": 0.9,
    "Cascade Mask R-CNN": 0.6,
    "Mask R-CNN DC5": 0.4,
    "RetinaNet": 0.04,
}
"""Scores that nothing in the last of :func:`many_pictures` reaches, and many objects in others."""


class Written(NamedTuple):
    """A file, and what it was made from."""

    path: Path
    cfg: Any
    model: Any


@cache
def onnx_file(name: str, layout: str, full_masks: bool = False) -> Written:
    """Return the file of a family in a layout."""
    threshold = THRESHOLDS[name]
    cfg, model = family(
        name,
        MODEL__ROI_HEADS__SCORE_THRESH_TEST=threshold,
        MODEL__RETINANET__SCORE_THRESH_TEST=threshold,
        INPUT__MIN_SIZE_TEST=96,
        INPUT__MAX_SIZE_TEST=160,
    )
    folder = _folder()
    description = describe(cfg, "onnx", False, cfg.INPUT.FORMAT, full_masks=full_masks, model=model)
    deployable = DeployableRCNN(model, aten_only=False, full_masks=full_masks)
    module, description = lay_out(deployable, description, layout)
    save_onnx(module, folder / "model.onnx", description)
    return Written(folder / "model.onnx", cfg, model)


@cache
def openvino_file(name: str, layout: str) -> Written:
    """Return the file of a family in a layout, made from its ONNX file."""
    path, cfg, model = onnx_file(name, layout)
    description = replace(read_description(path), format="openvino")
    target = _folder() / "model.xml"
    with openvino_files(target) as (graph, weights):
        save_openvino(openvino.convert_model(path), description, graph, weights)
    return Written(target, cfg, model)


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def many_pictures() -> list[Tensor]:
    """Return images (3, H, W) of five sizes, and a sixth with nothing in it."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.rand(3, 33, 200, generator=generator) * 255
    tall = F.interpolate(torch.rand(1, 3, 30, 8, generator=generator) * 255, (160, 64))[0]
    return [*pictures(), wide, tall, torch.full((3, 64, 90), 120.0)]


def mixed_batches() -> list[list[Tensor]]:
    """Return each of :func:`many_pictures` alone, and two and three of different sizes."""
    images = many_pictures()
    return [*([image] for image in images), images[:2], [images[4], images[5], images[2]]]

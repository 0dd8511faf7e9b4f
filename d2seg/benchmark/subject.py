"""What prediction is measured with: a model in files, and images of one kind in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from d2seg.benchmark.random_weights import ask_for_objects, settle_norms
from d2seg.benchmark.work import load_model, prepare_bgr_image
from d2seg.core.runtime.serialize import torch_bytes
from d2seg.framework import CfgNode
from d2seg.images import load_image

CONFIG_NAME, WEIGHTS_NAME, IMAGES_NAME = "config.yaml", "model.pth", "images.npz"


class Subject(NamedTuple):
    """A model and images, as every contestant takes them.

    Attributes:
        folder: Holds both; what runs in a process of its own reads them there.
        cfg: The config, whose ``MODEL.WEIGHTS`` lies in the folder.
        images: (H, W, 3) uint8 each, BGR.
        network_sizes_hw: Height and width of each after resizing.
        weights: What ``MODEL.WEIGHTS`` was; empty: they are random.
    """

    folder: Path
    cfg: CfgNode
    images: list[np.ndarray]
    network_sizes_hw: list[tuple[int, int]]
    weights: str

    @property
    def config_file(self) -> Path:
        """The config as a file."""
        return self.folder / CONFIG_NAME


def read_images(paths: Sequence[Path], size_hw: tuple[int, int] | None = None) -> list[np.ndarray]:
    """Read images as (H, W, 3) uint8 BGR.

    Args:
        paths: Image files.
        size_hw: Height and width to stretch them to; None leaves them as they are.

    Raises:
        ValueError: There is no image, a file is none, or the size is not positive.
    """
    if not paths:
        raise ValueError("There is no image to measure with; give at least one.")
    images = [load_image(path, "BGR") for path in paths]
    if size_hw is None:
        return images
    if min(size_hw) < 1:
        raise ValueError(f"The size of images must be positive, got {size_hw[0]}x{size_hw[1]}.")
    size_wh = (size_hw[1], size_hw[0])
    resize = Image.Resampling.BILINEAR
    return [np.asarray(Image.fromarray(one).resize(size_wh, resize)) for one in images]


def make_subject(
    cfg: CfgNode, images: Sequence[np.ndarray], folder: Path, objects: int | None = None
) -> Subject:
    """Write the model of a config to a folder, with its images.

    Without ``MODEL.WEIGHTS`` the weights are random, the same each time, with the statistics of
    the images in their batch norms.

    Args:
        cfg: Not modified.
        images: (H, W, 3) uint8 BGR.
        folder: Is made where it is missing.
        objects: When set, the score threshold becomes one at which each image has so many.

    Raises:
        ValueError: The images do not yield so many objects.
    """
    if objects is not None and objects < 1:
        raise ValueError(f"The number of objects must be at least 1, got {objects}.")
    own = cfg.clone()
    own.defrost()
    model = load_model(own)
    inputs = [prepare_bgr_image(image, own) for image in images]
    if not own.MODEL.WEIGHTS:
        settle_norms(model, inputs[:1])
    if objects is not None:
        ask_for_objects(own, model, inputs, objects)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_NAME).write_bytes(torch_bytes({"model": model.state_dict()}))
    own.MODEL.WEIGHTS = str(folder / WEIGHTS_NAME)
    (folder / CONFIG_NAME).write_text(own.dump(), encoding="utf-8")
    np.savez(folder / IMAGES_NAME, *images)
    sizes_hw = [(one["image"].shape[1], one["image"].shape[2]) for one in inputs]
    return Subject(folder, own, list(images), sizes_hw, cfg.MODEL.WEIGHTS)


def read_images_of(folder: Path) -> list[np.ndarray]:
    """Read back the images that :func:`make_subject` wrote."""
    with np.load(folder / IMAGES_NAME) as stored:
        return [stored[name] for name in stored.files]

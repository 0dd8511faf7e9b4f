"""Look-up of published configs, their weights, and models made of both."""

import difflib
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from d2seg.core.checkpoint import DetectionCheckpointer
from d2seg.core.config import CfgNode, LazyConfig, get_cfg, instantiate
from d2seg.core.model_zoo.published import TRAINED, trained_address
from d2seg.core.modeling import build_model
from d2seg.core.runtime.files import CONFIG_FOLDER


class UnknownModelError(ValueError, RuntimeError):
    """The model zoo has nothing of this name; also a RuntimeError, as in detectron2."""


def get_config_file(config_path: str) -> str:
    """Return the file of a published config.

    Args:
        config_path: Its name, such as ``COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml``.

    Raises:
        UnknownModelError: There is none of this name.
    """
    folder = CONFIG_FOLDER
    files = [*folder.rglob("*.yaml"), *folder.rglob("*.py")]
    names = {path.relative_to(folder).as_posix(): path for path in files}
    if config_path in names:
        return str(names[config_path])
    if config_path.endswith(".py"):
        raise UnknownModelError(
            f"The model zoo has no '{config_path}': d2seg ships YAML configs, and of those written "
            "in Python (LazyConfig) only some. Take a name from configs/README.md."
        )
    raise UnknownModelError(_unknown("config", config_path, names))


def get_checkpoint_url(config_path: str) -> str:
    """Return the address of the weights that were trained with a published config.

    Args:
        config_path: Name of the config, with or without ``.yaml`` or ``.py``.

    Raises:
        UnknownModelError: No trained weights are published under this name.
    """
    name = config_path.removesuffix(".yaml").removesuffix(".py")
    if name not in TRAINED:
        known = (f"{one}.yaml" for one in TRAINED)
        raise UnknownModelError(_unknown("trained model", config_path, known))
    return trained_address(name)


def is_trained(config_path: str) -> bool:
    """Tell whether trained weights are published for a config, with or without ``.yaml``."""
    return config_path.removesuffix(".yaml") in TRAINED


def get_config(config_path: str, trained: bool = False) -> Any:
    """Return a published config, not frozen: a CfgNode, or what a file written in Python holds.

    Args:
        config_path: Name of the config, such as
            ``COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml``.
        trained: Point MODEL.WEIGHTS, in Python train.init_checkpoint, at the weights that were
            trained with it, instead of those that training starts from.

    Raises:
        UnknownModelError: There is none of this name, or ``trained`` and it has no weights.
    """
    file = get_config_file(config_path)
    if file.endswith(".py"):
        described = LazyConfig.load(file)
        if trained:
            described.train.init_checkpoint = get_checkpoint_url(config_path)
        return described
    cfg = get_cfg()
    cfg.merge_from_file(file)
    if trained:
        cfg.MODEL.WEIGHTS = get_checkpoint_url(config_path)
    return cfg


def get(config_path: str, trained: bool = False, device: str | None = None) -> nn.Module:
    """Return the model of a published config with its weights, in training mode.

    Args:
        config_path: Name of the config.
        trained: Load the trained weights; else those the config starts training from.
        device: Where to put the model; by default the config's device, or the CPU without a GPU.

    Raises:
        UnknownModelError: See `get_config`.
        FileNotFoundError: The weights cannot be fetched.
    """
    cfg = get_config(config_path, trained)
    if device is None and not torch.cuda.is_available():
        device = "cpu"
    model: nn.Module
    if not isinstance(cfg, CfgNode):
        model = instantiate(cfg.model).to(device or "cuda")
        DetectionCheckpointer(model).load(cfg.train.init_checkpoint)
        return model
    if device is not None:
        cfg.MODEL.DEVICE = device
    model = build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    same_file = [candidate for candidate in names if candidate.endswith(f"/{name}")]
    nearest = same_file or difflib.get_close_matches(name, names, n=3, cutoff=0.3)
    hint = f"; nearest: {', '.join(nearest)}" if nearest else ""
    return f"The model zoo has no {kind} '{name}'{hint}."

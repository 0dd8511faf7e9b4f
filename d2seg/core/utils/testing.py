"""Helpers for tests of models, under detectron2's path."""

import io
import os
import tempfile
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from d2seg.core import model_zoo
from d2seg.core.config import LazyConfig, instantiate
from d2seg.core.data.detection_utils import read_image
from d2seg.core.modeling import build_model
from d2seg.core.runtime.files import PathManager
from d2seg.core.structures import BitMasks, Boxes, Instances, ROIMasks

_SAMPLE_OF_DATASET = os.path.join(
    os.getenv("DETECTRON2_DATASETS", "datasets"), "coco", "val2017", "000000439715.jpg"
)
_SAMPLE_ON_WEB = "http://images.cocodataset.org/val2017/000000439715.jpg"


def get_model_no_weights(config_path: str) -> nn.Module:
    """Build the model of a published config with random weights, on the CPU without a GPU."""
    cfg = model_zoo.get_config(config_path)
    if config_path.endswith(".py"):
        model: nn.Module = instantiate(cfg.model)
        return model.to("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    return build_model(cfg)


def random_boxes(num_boxes: int, max_coord: float = 100, device: Any = "cpu") -> Tensor:
    """Make random boxes (N, 4), XYXY, with sides of about 1 pixel or more, below ``max_coord``."""
    boxes = torch.rand(num_boxes, 4, device=device) * (max_coord * 0.5)
    boxes.clamp_(min=1.0)  # the second pair becomes a width and a height, which must not be 0
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def assert_instances_allclose(
    input: Instances,
    other: Instances,
    *,
    rtol: float = 1e-5,
    msg: str = "",
    size_as_tensor: bool = False,
) -> None:
    """Raise AssertionError unless two Instances have the same fields with nearly equal values.

    Args:
        input: The first, Instances or what compiled code returned for them.
        other: The second.
        rtol: Relative tolerance of floats; the absolute one follows from the largest value.
        msg: Put before the message.
        size_as_tensor: Compare image sizes as tensors.
    """
    input, other = convert_scripted_instances(input), convert_scripted_instances(other)
    first, second = input.image_size, other.image_size
    if size_as_tensor:
        same = torch.equal(torch.as_tensor(first), torch.as_tensor(second))
    else:
        same = tuple(first) == tuple(second)
    if not same:
        raise AssertionError(f"{msg}image_size is {first} and {second}.")
    names = sorted(input.get_fields())
    if names != sorted(other.get_fields()):
        raise AssertionError(f"{msg}Fields are {names} and {sorted(other.get_fields())}.")
    for name in names:
        _assert_close(f"{msg}{name}", input.get(name), other.get(name), rtol)


def convert_scripted_instances(instances: Any) -> Instances:
    """Turn what compiled code returned for Instances into Instances, without unset fields.

    Args:
        instances: Of the class that `d2seg.core.export.torchscript_patch.patch_instances` made;
            Instances are returned as they are.
    """
    if isinstance(instances, Instances):
        return instances
    converted = Instances(instances.image_size)
    for name in instances._field_names:
        value = getattr(instances, f"_{name}")
        if value is not None:
            converted.set(name, value)
    return converted


def get_sample_coco_image(tensor: bool = True) -> Any:
    """Return a photograph of COCO: of the data set if it is there, otherwise from the web.

    Args:
        tensor: As a tensor (3, H, W), else an array (H, W, 3); uint8, BGR.

    Raises:
        FileNotFoundError: It is neither there nor can it be fetched.
    """
    for address in (_SAMPLE_OF_DATASET, _SAMPLE_ON_WEB):
        try:
            image = read_image(PathManager.get_local_path(address), format="BGR")
        except OSError:
            continue
        return torch.from_numpy(image.transpose(2, 0, 1).copy()) if tensor else image
    raise FileNotFoundError(
        f"A photograph of COCO is neither at {_SAMPLE_OF_DATASET} nor can it be fetched from "
        f"{_SAMPLE_ON_WEB}."
    )


def reload_script_model(module: Any) -> Any:
    """Save a scripted module to memory and load it again."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


def reload_lazy_config(cfg: Any) -> Any:
    """Save a config written in Python to a file and load it again."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "config.yaml")
        LazyConfig.save(cfg, path)
        return LazyConfig.load(path)


def _assert_close(name: str, first: Any, second: Any, rtol: float) -> None:
    if isinstance(first, Boxes | BitMasks | ROIMasks):
        first, second = first.tensor, second.tensor
    if isinstance(first, Tensor):
        if first.is_floating_point() and first.shape == second.shape:
            tolerance = float(first.abs().max()) * rtol if first.numel() else 0.0
            same = torch.allclose(first, second, rtol=rtol, atol=tolerance)
        else:
            same = torch.equal(first, second)
    else:
        same = bool(np.all(np.asarray(first) == np.asarray(second)))
    if not same:
        raise AssertionError(f"{name} differs.")

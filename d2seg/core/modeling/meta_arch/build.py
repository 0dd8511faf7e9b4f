"""Models by name."""

from typing import Any

from torch import nn

from d2seg.core.modeling.inference_options import InferenceOptions
from d2seg.core.modeling.meta_arch.image_model import ImageModel
from d2seg.core.runtime.registry import Registry
from d2seg.core.runtime.torch_install import select_device

META_ARCH_REGISTRY = Registry("META_ARCH")
"""Classes called with ``(cfg)``."""


def build_model(cfg: Any) -> nn.Module:
    """Build the model that ``MODEL.META_ARCHITECTURE`` names, with random weights.

    It is put on ``MODEL.DEVICE``, or on the CPU with a warning where there is no such device.
    """
    model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    if isinstance(model, ImageModel):
        model.inference_options = InferenceOptions.from_config(cfg)
    return model.to(select_device(cfg.MODEL.DEVICE))

"""Backbones by name."""

from typing import Any

from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.backbone.backbone import Backbone
from d2seg.core.runtime.registry import Registry

BACKBONE_REGISTRY = Registry("BACKBONE")
"""Functions or classes called with ``(cfg, input_shape)`` that return a Backbone."""


def build_backbone(cfg: Any, input_shape: ShapeSpec | None = None) -> Backbone:
    """Build the backbone that ``MODEL.BACKBONE.NAME`` names.

    Args:
        cfg: The whole config.
        input_shape: Of the images; by default as many channels as ``MODEL.PIXEL_MEAN`` has.
    """
    shape = input_shape or ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    backbone = BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)(cfg, shape)
    if not isinstance(backbone, Backbone):
        raise TypeError(
            f"MODEL.BACKBONE.NAME '{cfg.MODEL.BACKBONE.NAME}' built a {type(backbone).__name__}, "
            "but a backbone must be a subclass of Backbone."
        )
    return backbone

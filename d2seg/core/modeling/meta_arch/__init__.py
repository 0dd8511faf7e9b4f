"""Whole models."""

from d2seg.core.modeling.meta_arch.build import META_ARCH_REGISTRY, build_model
from d2seg.core.modeling.meta_arch.rcnn import GeneralizedRCNN

__all__ = ["META_ARCH_REGISTRY", "GeneralizedRCNN", "build_model"]

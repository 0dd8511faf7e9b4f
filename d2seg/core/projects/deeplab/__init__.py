"""Semantic maps from dilated convolutions (DeepLab v3, arXiv:1706.05587; v3+, arXiv:1802.02611)."""

from d2seg.core.projects.deeplab.build_solver import build_lr_scheduler
from d2seg.core.projects.deeplab.config import add_deeplab_config
from d2seg.core.projects.deeplab.resnet import build_resnet_deeplab_backbone
from d2seg.core.projects.deeplab.semantic_seg import DeepLabV3Head, DeepLabV3PlusHead

__all__ = [
    "DeepLabV3Head",
    "DeepLabV3PlusHead",
    "add_deeplab_config",
    "build_lr_scheduler",
    "build_resnet_deeplab_backbone",
]

"""Networks from images to feature maps."""

from d2seg.core.modeling.backbone.backbone import Backbone
from d2seg.core.modeling.backbone.build import BACKBONE_REGISTRY, build_backbone
from d2seg.core.modeling.backbone.fpn import FPN, build_resnet_fpn_backbone
from d2seg.core.modeling.backbone.resnet import (
    BasicBlock,
    BasicStem,
    BottleneckBlock,
    ResNet,
    build_resnet_backbone,
)

__all__ = [
    "BACKBONE_REGISTRY",
    "FPN",
    "Backbone",
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "ResNet",
    "build_backbone",
    "build_resnet_backbone",
    "build_resnet_fpn_backbone",
]

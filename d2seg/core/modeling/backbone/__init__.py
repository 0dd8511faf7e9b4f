"""Networks from images to feature maps."""

from d2seg.core.modeling.backbone.backbone import Backbone
from d2seg.core.modeling.backbone.blocks import (
    BasicBlock,
    BasicStem,
    BottleneckBlock,
    DeformBottleneckBlock,
)
from d2seg.core.modeling.backbone.build import BACKBONE_REGISTRY, build_backbone
from d2seg.core.modeling.backbone.fpn import (
    FPN,
    LastLevelMaxPool,
    LastLevelP6P7,
    build_resnet_fpn_backbone,
    build_retinanet_resnet_fpn_backbone,
)
from d2seg.core.modeling.backbone.mvit import MViT
from d2seg.core.modeling.backbone.regnet import RegNet
from d2seg.core.modeling.backbone.resnet import (
    ResNet,
    ResNetBlockBase,
    build_resnet_backbone,
    make_stage,
)
from d2seg.core.modeling.backbone.swin import SwinTransformer
from d2seg.core.modeling.backbone.vit import SimpleFeaturePyramid, ViT, get_vit_lr_decay_rate

__all__ = [
    "BACKBONE_REGISTRY",
    "FPN",
    "Backbone",
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "DeformBottleneckBlock",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "MViT",
    "RegNet",
    "ResNet",
    "ResNetBlockBase",
    "SimpleFeaturePyramid",
    "SwinTransformer",
    "ViT",
    "build_backbone",
    "build_resnet_backbone",
    "build_resnet_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone",
    "get_vit_lr_decay_rate",
    "make_stage",
]

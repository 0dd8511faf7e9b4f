"""RetinaNet on a feature pyramid, for the 80 classes of COCO."""

from d2seg.core.config import LazyCall as L
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling import RetinaNet
from d2seg.core.modeling.anchor_generator import DefaultAnchorGenerator
from d2seg.core.modeling.backbone.fpn import LastLevelP6P7
from d2seg.core.modeling.box_regression import Box2BoxTransform
from d2seg.core.modeling.matcher import Matcher
from d2seg.core.modeling.meta_arch.retinanet import RetinaNetHead

from ..data.constants import constants
from .resnet_fpn import backbone

backbone.bottom_up.out_features = ["res3", "res4", "res5"]
# Behind res5 itself: 2048 channels, stride 32.
backbone.top_block = L(LastLevelP6P7)(in_channels=2048, out_channels="${..out_channels}")

model = L(RetinaNet)(
    backbone=backbone,
    head=L(RetinaNetHead)(
        input_shape=[ShapeSpec(channels=256)] * 5,  # the same layers serve every level
        num_classes="${..num_classes}",
        conv_dims=[256, 256, 256, 256],
        prior_prob=0.01,
        num_anchors=9,
    ),
    anchor_generator=L(DefaultAnchorGenerator)(
        sizes=[[x, x * 2 ** (1 / 3), x * 2 ** (2 / 3)] for x in (32, 64, 128, 256, 512)],
        aspect_ratios=[0.5, 1.0, 2.0],
        strides=[8, 16, 32, 64, 128],
        offset=0.0,
    ),
    box2box_transform=L(Box2BoxTransform)(weights=[1.0, 1.0, 1.0, 1.0]),
    anchor_matcher=L(Matcher)(
        thresholds=[0.4, 0.5], labels=[0, -1, 1], allow_low_quality_matches=True
    ),
    num_classes=80,
    head_in_features=["p3", "p4", "p5", "p6", "p7"],
    focal_loss_alpha=0.25,
    focal_loss_gamma=2.0,
    pixel_mean=constants.imagenet_bgr256_mean,
    pixel_std=constants.imagenet_bgr256_std,
    input_format="BGR",
)

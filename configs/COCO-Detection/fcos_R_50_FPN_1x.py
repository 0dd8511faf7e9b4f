"""FCOS with a ResNet-50 FPN; it has no YAML config. Load it with `LazyConfig` or the model zoo."""

from d2seg.core.config import LazyCall
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.backbone import FPN, BasicStem, LastLevelP6P7, ResNet
from d2seg.core.modeling.meta_arch.fcos import FCOS, FCOSHead

WIDTH = 256
LEVELS = ["p3", "p4", "p5", "p6", "p7"]

resnet = LazyCall(ResNet)(
    stem=LazyCall(BasicStem)(in_channels=3, out_channels=64, norm="FrozenBN"),
    stages=LazyCall(ResNet.make_default_stages)(depth=50, norm="FrozenBN", stride_in_1x1=True),
    out_features=["res3", "res4", "res5"],
    freeze_at=2,
)
model = LazyCall(FCOS)(
    backbone=LazyCall(FPN)(
        bottom_up=resnet,
        in_features=["res3", "res4", "res5"],
        out_channels=WIDTH,
        # P6 and P7 from P5 instead of C5 (arXiv:2006.09214, section 2.2).
        top_block=LazyCall(LastLevelP6P7)(in_channels=WIDTH, out_channels=WIDTH, in_feature="p5"),
    ),
    head=LazyCall(FCOSHead)(
        input_shape=[ShapeSpec(channels=WIDTH) for _ in LEVELS],
        num_classes="${..num_classes}",
        conv_dims=[WIDTH] * 4,
        norm="GN",
        prior_prob=0.01,
    ),
    head_in_features=LEVELS,
    num_classes=80,
    focal_loss_alpha=0.25,
    focal_loss_gamma=2.0,
    test_score_thresh=0.2,
    test_nms_thresh=0.6,
    pixel_mean=[103.53, 116.28, 123.675],  # BGR
    pixel_std=[1.0, 1.0, 1.0],
)
train = {"init_checkpoint": "detectron2://ImageNetPretrained/MSRA/R-50.pkl"}

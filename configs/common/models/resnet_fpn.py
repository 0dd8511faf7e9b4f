"""ResNet-50 with a feature pyramid."""

from d2seg.core.config import LazyCall as L
from d2seg.core.modeling.backbone import FPN, BasicStem, ResNet
from d2seg.core.modeling.backbone.fpn import LastLevelMaxPool

backbone = L(FPN)(
    bottom_up=L(ResNet)(
        stem=L(BasicStem)(in_channels=3, out_channels=64, norm="FrozenBN"),
        stages=L(ResNet.make_default_stages)(depth=50, stride_in_1x1=True, norm="FrozenBN"),
        out_features=["res2", "res3", "res4", "res5"],
    ),
    in_features="${.bottom_up.out_features}",
    out_channels=256,
    top_block=L(LastLevelMaxPool)(),
)

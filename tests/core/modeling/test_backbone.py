"""Networks of every depth, freezing, and wrong settings."""

from typing import Any

import pytest
import torch
from torch import nn

from d2seg.core.config import CfgNode, get_cfg
from d2seg.core.layers import FrozenBatchNorm2d
from d2seg.core.modeling import build_backbone
from d2seg.core.modeling.backbone.blocks import BasicBlock, BasicStem, BottleneckBlock
from d2seg.core.modeling.backbone.resnet import ResNet

THIN = [
    "MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.FPN.OUT_CHANNELS", 32,
]  # fmt: skip


def fpn_config(*opts: Any) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_list(
        ["MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"]
        + ["MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"]]
        + ["MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"]]
        + [*THIN, *opts]
    )
    return cfg


@pytest.mark.parametrize(("depth", "blocks"), [(18, 8), (34, 16), (50, 16), (101, 33), (152, 50)])
def test_depths(depth: int, blocks: int) -> None:
    backbone = build_backbone(fpn_config("MODEL.RESNETS.DEPTH", depth)).eval()
    assert sum(len(stage) for stage in backbone.bottom_up.stages) == blocks
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 64, 96))
    assert {name: tuple(f.shape) for name, f in features.items()} == {
        f"p{level}": (1, 32, -(-64 // 2**level), -(-96 // 2**level)) for level in range(2, 7)
    }
    assert {name: shape.stride for name, shape in backbone.output_shape().items()} == {
        "p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64,
    }  # fmt: skip
    assert backbone.size_divisibility == 32


@pytest.mark.parametrize(
    ("depth", "kind", "counts", "channels"),
    [
        (34, BasicBlock, [3, 4, 6, 3], [64, 128, 256, 512]),
        (50, BottleneckBlock, [3, 4, 6, 3], [256, 512, 1024, 2048]),
    ],
)
def test_the_stages_of_published_networks(
    depth: int, kind: type, counts: list[int], channels: list[int]
) -> None:
    stages = ResNet.make_default_stages(depth, norm="BN")
    assert [len(blocks) for blocks in stages] == counts
    assert {type(block) for blocks in stages for block in blocks} == {kind}
    assert [{block.out_channels for block in blocks} for blocks in stages] == [
        {width} for width in channels
    ]
    strides = [[block.stride for block in blocks] for blocks in stages]
    assert strides == [
        [1 if number == 0 else 2] + [1] * (count - 1) for number, count in enumerate(counts)
    ]
    before = [64, *channels[:-1]]
    assert [blocks[0].in_channels for blocks in stages] == before


def test_the_default_stages_are_those_of_the_config() -> None:
    cfg = get_cfg()
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]
    from_config = build_backbone(cfg).state_dict()
    stages = ResNet.make_default_stages(50, norm="FrozenBN", stride_in_1x1=True)
    by_hand = ResNet(BasicStem(3, 64, "FrozenBN"), stages).state_dict()
    assert {k: v.shape for k, v in by_hand.items()} == {k: v.shape for k, v in from_config.items()}
    with pytest.raises(ValueError, match="DEPTH is 20, but must be one of 18, 34"):
        ResNet.make_default_stages(20)


def test_groups_make_the_bottleneck_wider() -> None:
    cfg = fpn_config("MODEL.RESNETS.NUM_GROUPS", 8, "MODEL.RESNETS.WIDTH_PER_GROUP", 2)
    conv = build_backbone(cfg).bottom_up.res3[0].conv2
    assert (conv.groups, conv.in_channels, conv.out_channels) == (8, 32, 32)


def test_stride_is_in_the_convolution_that_the_config_says() -> None:
    for in_1x1, strides in ((True, (2, 1)), (False, (1, 2))):
        block = build_backbone(fpn_config("MODEL.RESNETS.STRIDE_IN_1X1", in_1x1)).bottom_up.res3[0]
        assert (block.conv1.stride[0], block.conv2.stride[0]) == strides


@pytest.mark.parametrize("freeze_at", [0, 1, 2, 5])
def test_freezing_reaches_the_stage_that_the_config_says(freeze_at: int) -> None:
    cfg = fpn_config("MODEL.BACKBONE.FREEZE_AT", freeze_at, "MODEL.RESNETS.NORM", "BN")
    resnet = build_backbone(cfg).bottom_up
    parts = [resnet.stem, *resnet.stages]
    for number, part in enumerate(parts, start=1):
        frozen = number <= freeze_at
        assert all(p.requires_grad != frozen for p in part.parameters())
        kinds = {
            type(m) for m in part.modules() if isinstance(m, FrozenBatchNorm2d | nn.BatchNorm2d)
        }
        assert kinds == {FrozenBatchNorm2d if frozen else nn.BatchNorm2d}


def test_a_pyramid_with_norm_has_no_bias() -> None:
    backbone = build_backbone(fpn_config("MODEL.FPN.NORM", "GN"))
    assert backbone.fpn_lateral2.bias is None
    assert isinstance(backbone.fpn_output5.norm, nn.GroupNorm)


def test_the_convolutions_of_a_pyramid_are_listed_from_coarse_to_fine() -> None:
    backbone = build_backbone(fpn_config())
    names = {module: name for name, module in backbone.named_children()}
    assert [names[conv] for conv in backbone.lateral_convs] == [
        "fpn_lateral5", "fpn_lateral4", "fpn_lateral3", "fpn_lateral2",
    ]  # fmt: skip
    assert [names[conv] for conv in backbone.output_convs] == [
        "fpn_output5", "fpn_output4", "fpn_output3", "fpn_output2",
    ]  # fmt: skip


def test_average_fusion_halves_what_is_summed() -> None:
    summed = build_backbone(fpn_config()).eval()
    averaged = build_backbone(fpn_config("MODEL.FPN.FUSE_TYPE", "avg")).eval()
    averaged.load_state_dict(summed.state_dict())
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        of_sum, of_average = summed(x), averaged(x)
    torch.testing.assert_close(of_sum["p5"], of_average["p5"])  # the coarsest has nothing to fuse
    bias = summed.fpn_output4.bias[:, None, None]
    torch.testing.assert_close(
        of_sum["p4"] - bias, 2 * (of_average["p4"] - bias), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.RESNETS.DEPTH", 51], "DEPTH is 51, but must be one of 18, 34, 50, 101, 152"),
        (["MODEL.RESNETS.RES5_DILATION", 3], "RES5_DILATION is 3, not 1 or 2"),
        (
            ["MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.NUM_GROUPS", 8],
            "basic blocks, which have neither",
        ),
        (
            ["MODEL.RESNETS.DEPTH", 34, "MODEL.RESNETS.RES2_OUT_CHANNELS", 256],
            "DEPTH 34 has 64 channels in res2, but RES2_OUT_CHANNELS is 256",
        ),
        (["MODEL.BACKBONE.FREEZE_AT", 9], "FREEZE_AT is 9, but there are five parts"),
        (["MODEL.RESNETS.OUT_FEATURES", ["res6"]], "OUT_FEATURES names 'res6'"),
        (["MODEL.FPN.IN_FEATURES", ["res2", "res7"]], "IN_FEATURES is .* gives only res2, res3"),
        (["MODEL.FPN.IN_FEATURES", ["res2", "res4"]], "strides that double .* 4 is followed by 16"),
        (["MODEL.FPN.FUSE_TYPE", "max"], "FUSE_TYPE is 'max', but must be 'sum' or 'avg'"),
        (
            [
                *["MODEL.RESNETS.DEPTH", 34],
                *["MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, True, True, True]],
            ],
            "basic blocks, which have neither groups nor dilation nor deformable",
        ),
        (["MODEL.RESNETS.DEFORM_ON_PER_STAGE", [True]], "needs four values, .* but has 1"),
        (
            ["MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone"]
            + ["MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4"]],
            "computes P6 from res5",
        ),
    ],
)
def test_wrong_settings_are_named(opts: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_backbone(fpn_config(*opts))


def test_an_unknown_backbone_lists_the_known() -> None:
    with pytest.raises(
        KeyError, match="did you mean 'build_resnet_fpn_backbone'.*Known: build_res"
    ):
        build_backbone(fpn_config("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbon"))

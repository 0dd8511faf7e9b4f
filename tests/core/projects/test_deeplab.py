"""DeepLab v3 and v3+ with a thin ResNet, their schedule and their loss."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from d2seg.core.config import CfgNode, get_cfg
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling import build_backbone, build_model
from d2seg.core.projects.deeplab import (
    DeepLabV3PlusHead,
    add_deeplab_config,
    build_lr_scheduler,
)
from d2seg.core.projects.deeplab.loss import DeepLabCE
from d2seg.core.projects.deeplab.lr_scheduler import WarmupPolyLR
from tests.reference.cases import picture, semantic_map

_SHARED: dict[str, Any] = {
    "MODEL.DEVICE": "cpu",
    "MODEL.META_ARCHITECTURE": "SemanticSegmentor",
    "MODEL.BACKBONE.NAME": "build_resnet_deeplab_backbone",
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 12,
    "MODEL.RESNETS.RES5_DILATION": 2,
    "MODEL.RESNETS.NORM": "BN",
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 9,
    "MODEL.SEM_SEG_HEAD.NORM": "BN",
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 16,
    "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS": 16,
    "MODEL.SEM_SEG_HEAD.ASPP_DILATIONS": [1, 2, 3],
}
_V3: dict[str, Any] = {
    "MODEL.RESNETS.OUT_FEATURES": ["res5"],
    "MODEL.SEM_SEG_HEAD.NAME": "DeepLabV3Head",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": ["res5"],
    "MODEL.SEM_SEG_HEAD.COMMON_STRIDE": 16,
}
_V3PLUS: dict[str, Any] = {
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res5"],
    "MODEL.SEM_SEG_HEAD.NAME": "DeepLabV3PlusHead",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": ["res2", "res5"],
    "MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS": [6],
    "MODEL.SEM_SEG_HEAD.COMMON_STRIDE": 4,
}
VERSIONS = {"v3": _V3, "v3plus": _V3PLUS}


def config(version: str, opts: dict[str, Any] | None = None) -> CfgNode:
    cfg = get_cfg()
    add_deeplab_config(cfg)
    chosen = {**_SHARED, **VERSIONS[version], **(opts or {})}
    cfg.merge_from_list([item for pair in chosen.items() for item in pair])
    torch.manual_seed(0)
    return cfg


def test_keys_and_defaults_are_detectron2s() -> None:
    cfg = get_cfg()
    add_deeplab_config(cfg)
    added = {
        "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": 1.0,
        "SOLVER.POLY_LR_POWER": 0.9,
        "SOLVER.POLY_LR_CONSTANT_ENDING": 0.0,
        "MODEL.SEM_SEG_HEAD.LOSS_TYPE": "hard_pixel_mining",
        "MODEL.SEM_SEG_HEAD.PROJECT_FEATURES": ["res2"],
        "MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS": [48],
        "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS": 256,
        "MODEL.SEM_SEG_HEAD.ASPP_DILATIONS": [6, 12, 18],
        "MODEL.SEM_SEG_HEAD.ASPP_DROPOUT": 0.1,
        "MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV": False,
        "MODEL.RESNETS.RES4_DILATION": 1,
        "MODEL.RESNETS.RES5_MULTI_GRID": [1, 2, 4],
        "MODEL.RESNETS.STEM_TYPE": "deeplab",
    }
    for key, value in added.items():
        node: Any = cfg
        for part in key.split("."):
            node = node[part]
        assert node == value, key


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("separable", [False, True])
def test_it_trains_and_classifies(version: str, separable: bool) -> None:
    opts: dict[str, Any] = {"MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV": separable}
    opts |= {"INPUT.CROP.ENABLED": True, "INPUT.CROP.TYPE": "absolute", "INPUT.CROP.SIZE": [64, 96]}
    model = build_model(config(version, opts)).train()
    inputs = [
        {"image": picture(seed, 64, 96), "sem_seg": semantic_map(seed, 64, 96)} for seed in (1, 2)
    ]
    losses = model(inputs)
    assert losses.keys() == {"loss_sem_seg"}
    assert torch.isfinite(losses["loss_sem_seg"])
    losses["loss_sem_seg"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
    assert model.backbone.stem.conv1.weight.grad.abs().sum() > 0
    with torch.no_grad():
        (found,) = model.eval()([{"image": picture(1, 90, 130), "height": 45, "width": 65}])
    assert found["sem_seg"].shape == (9, 45, 65)


def test_names_are_those_of_the_published_checkpoints() -> None:
    names = set(build_model(config("v3plus")).state_dict())
    head = {name.removeprefix("sem_seg_head.") for name in names if name.startswith("sem_seg_head")}
    kinds = {name.removesuffix(".weight") for name in head if name.endswith(".weight")}
    convs = {"decoder.res2.project_conv", "decoder.res2.fuse_conv.0", "decoder.res2.fuse_conv.1"}
    convs |= {f"decoder.res5.project_conv.convs.{index}" for index in range(4)}
    convs.add("decoder.res5.project_conv.project")
    pooled = "decoder.res5.project_conv.convs.4"
    assert kinds - {"predictor"} - {pooled, f"{pooled}.1"} == convs | {f"{n}.norm" for n in convs}
    stem = {name for name in names if name.startswith("backbone.stem") and "norm" not in name}
    assert stem == {f"backbone.stem.conv{number}.weight" for number in (1, 2, 3)}


def test_dilation_takes_the_place_of_stride() -> None:
    backbone: Any = build_backbone(config("v3", {"MODEL.RESNETS.OUT_FEATURES": ["res4", "res5"]}))
    assert backbone.output_shape()["res5"] == ShapeSpec(channels=128, stride=16)
    assert [block.conv2.dilation for block in backbone.res5] == [(2, 2), (4, 4), (8, 8)]
    finer: dict[str, Any] = {"MODEL.RESNETS.RES4_DILATION": 2, "MODEL.RESNETS.RES5_DILATION": 4}
    dense: Any = build_backbone(config("v3", finer))
    assert dense.output_shape()["res5"].stride == 8
    assert {block.conv2.dilation for block in dense.res4} == {(2, 2)}
    assert dense(torch.zeros(1, 3, 32, 48))["res5"].shape == (1, 128, 4, 6)
    basic: Any = build_backbone(config("v3", {"MODEL.RESNETS.STEM_TYPE": "basic"}))
    assert basic.stem.conv1.kernel_size == (7, 7)


def test_the_decoder_can_stand_alone() -> None:
    shapes = {"a": ShapeSpec(channels=4, stride=4), "b": ShapeSpec(channels=6, stride=8)}
    head = DeepLabV3PlusHead(
        {"b": shapes["b"], "a": shapes["a"]},
        project_channels=[3],
        aspp_dilations=[1, 2, 3],
        aspp_dropout=0.0,
        decoder_channels=[5, 7],
        common_stride=4,
        norm="",
        train_size=None,
    )
    features = {"a": torch.randn(1, 4, 8, 12), "b": torch.randn(1, 6, 4, 6)}
    assert head.layers(features).shape == (1, 5, 8, 12)
    with pytest.raises(ValueError, match="has no classes"):
        head(features)


def test_the_hardest_pixels_are_trained_on() -> None:
    # Two classes; the loss of a pixel is log(1 + exp(-margin)).
    margins = torch.tensor([3.0, -2.0, 1.0, -5.0, 0.0])
    logits = torch.stack([margins, torch.zeros(5)])[None, :, None]  # [1,2,1,5]
    labels = torch.tensor([[[0, 0, 0, -1, 0]]])
    each = [math.log1p(math.exp(-margin)) for margin in (3.0, -2.0, 1.0, 0.0)]
    hardest = DeepLabCE(-1, top_k_percent_pixels=0.4)(logits, labels)
    assert hardest.item() == pytest.approx((each[1] + each[3]) / 2)
    assert DeepLabCE(-1)(logits, labels).item() == pytest.approx(sum(each) / 5)
    weights = torch.tensor([[[0.0, 0.0, 1.0, 1.0, 0.0]]])
    assert DeepLabCE(-1)(logits, labels, weights).item() == pytest.approx(each[2] / 5)
    with pytest.raises(ValueError, match="above 0 and at most 1; found 20"):
        DeepLabCE(-1, top_k_percent_pixels=20)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_the_rate_falls_as_a_power_of_what_is_left() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    cfg = config("v3", {"SOLVER.LR_SCHEDULER_NAME": "WarmupPolyLR", "SOLVER.MAX_ITER": 10})
    cfg.SOLVER.WARMUP_ITERS = 4
    cfg.SOLVER.WARMUP_FACTOR = 0.5
    cfg.SOLVER.POLY_LR_CONSTANT_ENDING = 0.3
    schedule = build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        schedule.step()
    assert rates[0] == pytest.approx(2 * 0.5)
    assert rates[2] == pytest.approx(2 * 0.75 * 0.8**0.9)
    assert rates[5] == pytest.approx(2 * 0.5**0.9)
    assert rates[8:] == pytest.approx([2 * 0.3] * 3)
    assert isinstance(schedule, WarmupPolyLR)
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupCosineLR"
    assert not isinstance(build_lr_scheduler(cfg, optimizer), WarmupPolyLR)


@pytest.mark.parametrize(
    ("version", "opts", "message"),
    [
        ("v3", {"MODEL.RESNETS.DEPTH": 18}, "DEPTH is 18, but build_resnet_deeplab_backbone"),
        ("v3", {"MODEL.RESNETS.STEM_TYPE": "deep"}, "STEM_TYPE is 'deep', but must be one of"),
        ("v3", {"MODEL.RESNETS.RES4_DILATION": 2}, "found 2 and 2"),
        ("v3", {"MODEL.RESNETS.RES5_MULTI_GRID": [1, 2]}, "each of the 3 blocks of res5"),
        ("v3", {"MODEL.SEM_SEG_HEAD.LOSS_TYPE": "dice"}, "LOSS_TYPE is 'dice', but must be"),
        ("v3", {"INPUT.CROP.ENABLED": True}, "CROP.TYPE is 'relative_range', but DeepLab pools"),
        (
            "v3",
            {
                "INPUT.CROP.ENABLED": True,
                "INPUT.CROP.TYPE": "absolute",
                "INPUT.CROP.SIZE": [100, 96],
            },
            "CROP.SIZE is \\(100, 96\\), but must divide into cells of 16",
        ),
        (
            "v3plus",
            {"MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS": [6, 7]},
            "needs 1 PROJECT_CHANNELS and 2 widths of the decoder; found 2 and 2",
        ),
        (
            "v3plus",
            {"MODEL.SEM_SEG_HEAD.NAME": "DeepLabV3Head"},
            "names 2 levels, but DeepLabV3Head reads one",
        ),
    ],
)
def test_configs_that_cannot_work_are_named(
    version: str, opts: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(config(version, opts))

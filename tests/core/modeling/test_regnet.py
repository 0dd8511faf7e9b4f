"""RegNet against torchvision's, and its parts."""

import re
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from d2seg.core.layers import FrozenBatchNorm2d
from d2seg.core.modeling import FPN, RegNet
from d2seg.core.modeling.backbone.regnet import (
    AnyNet,
    ResBottleneckBlock,
    ResStem,
    SimpleStem,
    fit_to_groups,
    stage_widths,
)

ALL = ["stem", "s1", "s2", "s3", "s4"]
Y_400MF = {"depth": 16, "w_a": 27.89, "w_0": 48, "w_m": 2.09, "group_width": 8, "se_ratio": 0.25}
X_800MF = {"depth": 16, "w_a": 35.73, "w_0": 56, "w_m": 2.28, "group_width": 16}
X_400MF = {"depth": 22, "w_a": 24.48, "w_0": 24, "w_m": 2.54, "group_width": 16}


def regnet(**arguments: Any) -> RegNet:
    common = {"stem_class": SimpleStem, "stem_width": 32, "block_class": ResBottleneckBlock}
    return RegNet(**(common | {"out_features": ALL} | arguments))


def pycls_name(name: str) -> str:
    """Return our name of a torchvision weight."""
    name = re.sub(r"^stem\.0", "stem.conv", re.sub(r"^stem\.1", "stem.bn", name))
    name = re.sub(
        r"^trunk_output\.block(\d)\.block\d-(\d+)",
        lambda found: f"s{found[1]}.b{int(found[2]) + 1}",
        name,
    )
    name = re.sub(r"\.proj\.0", ".proj", re.sub(r"\.proj\.1", ".bn", name))
    name = re.sub(r"\.f\.([abc])\.0", r".f.\1", re.sub(r"\.f\.([abc])\.1", r".f.\1_bn", name))
    return name.replace("se.fc1", "se.f_ex.0").replace("se.fc2", "se.f_ex.2")


@pytest.mark.parametrize(("name", "arguments"), [("y_400mf", Y_400MF), ("x_800mf", X_800MF)])
def test_it_is_torchvisions_network(name: str, arguments: dict[str, Any]) -> None:
    torch.manual_seed(0)
    other = getattr(torchvision.models, f"regnet_{name}")(weights=None).eval()
    for layer in other.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.running_mean, std=0.1)
    ours = regnet(**arguments).eval()
    weights = {pycls_name(k): v for k, v in other.state_dict().items() if not k.startswith("fc.")}
    assert set(weights) == set(ours.state_dict())
    ours.load_state_dict(weights)
    x = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        expected = other.trunk_output(other.stem(x))
        outputs = ours(x)
    assert torch.equal(outputs["s4"], expected)
    assert {n: tuple(o.shape[2:]) for n, o in outputs.items()} == {
        "stem": (48, 32), "s1": (24, 16), "s2": (12, 8), "s3": (6, 4), "s4": (3, 2),
    }  # fmt: skip


def test_shapes_are_told() -> None:
    shapes = regnet(**Y_400MF).output_shape()
    assert {name: (s.channels, s.stride) for name, s in shapes.items()} == {
        "stem": (32, 2), "s1": (48, 4), "s2": (104, 8), "s3": (208, 16), "s4": (440, 32),
    }  # fmt: skip
    assert list(regnet(**Y_400MF, out_features=None).output_shape()) == ["s4"]


def test_published_widths() -> None:
    # RegNetX-4.0GF and RegNetX-400MF of the paper; torchvision makes the last width of that 400.
    assert stage_widths(38.65, 96, 2.43, 23) == ([96, 232, 568, 1376], [2, 5, 14, 2])
    fitted = [fit_to_groups(width, 1.0, 40)[0] for width in (96, 232, 568, 1376)]
    assert fitted == [80, 240, 560, 1360]
    assert list(regnet(**X_400MF)._out_feature_channels.values()) == [32, 32, 64, 160, 384]
    assert fit_to_groups(24, 1.0, 64) == (24, 24)
    assert fit_to_groups(64, 0.25, 8) == (64, 8)


def test_a_block_begins_as_its_shortcut() -> None:
    block = ResBottleneckBlock(16, 16, 1, "BN", group_width=8).eval()
    x = torch.rand(2, 16, 5, 7)
    assert torch.equal(block(x), x)


def test_activations_and_the_wide_stem() -> None:
    net = regnet(stem_class=ResStem, activation_class=nn.SiLU, **X_400MF)
    assert {type(m) for m in net.modules()} & {nn.ReLU, nn.SiLU} == {nn.SiLU}
    outputs = net(torch.randn(1, 3, 128, 64))
    assert outputs["stem"].shape[2:] == (32, 16)
    assert net.output_shape()["s4"].stride == 64


@pytest.mark.parametrize("freeze_at", [0, 1, 3])
def test_freezing(freeze_at: int) -> None:
    net = regnet(freeze_at=freeze_at, **X_400MF)
    for index, name in enumerate(ALL, start=1):
        part = getattr(net, name)
        frozen = index <= freeze_at
        assert {p.requires_grad for p in part.parameters()} == {not frozen}
        assert any(isinstance(m, FrozenBatchNorm2d) for m in part.modules()) == frozen


def test_as_bottom_of_a_pyramid_everything_learns() -> None:
    net = FPN(regnet(**(Y_400MF | {"depth": 12})), ["s1", "s2", "s3", "s4"], 16, norm="BN")
    outputs = net(torch.randn(2, 3, 64, 96))
    assert {n: o.shape[2:] for n, o in outputs.items()}["p2"] == (16, 24)
    sum(o.square().sum() for o in outputs.values()).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_stages_of_any_kind() -> None:
    net = AnyNet(
        stem_class=SimpleStem,
        stem_width=8,
        block_class=ResBottleneckBlock,
        depths=[1, 2],
        widths=[16, 24],
        group_widths=[8, 12],
        strides=[1, 2],
        bottleneck_ratios=[1.0, 0.5],
        se_ratio=0.0,
        out_features=["s1", "s2"],
    )
    outputs = net(torch.randn(1, 3, 32, 48))
    assert [tuple(o.shape) for o in outputs.values()] == [(1, 16, 16, 24), (1, 24, 8, 12)]
    assert net.s2.b2.f.b.groups == 1


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="names 's5', but this network has only stem, s1"):
        regnet(**X_400MF, out_features=["s5"])
    with pytest.raises(ValueError, match="w_0 a multiple of 8.*found w_a=1, w_0=20"):
        stage_widths(1, 20, 2.0, 4)

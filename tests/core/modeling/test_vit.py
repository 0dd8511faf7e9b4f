"""Plain transformers: windows, positions, blocks against torchvision's, and the pyramid."""

from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models.vision_transformer import EncoderBlock

from d2seg.core.modeling import SimpleFeaturePyramid, ViT, get_vit_lr_decay_rate
from d2seg.core.modeling.backbone import LastLevelMaxPool
from d2seg.core.modeling.backbone.utils import (
    add_decomposed_rel_pos,
    get_abs_pos,
    get_rel_pos,
    window_partition,
    window_unpartition,
)
from d2seg.core.modeling.backbone.vit import Attention, Block
from d2seg.core.structures import ImageList


def vit(**changes: Any) -> ViT:
    torch.manual_seed(0)
    arguments = {
        "img_size": 64, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 4,
        "pretrain_img_size": 32, "window_size": 3, "window_block_indexes": [0, 2],
        "use_rel_pos": True,
    }  # fmt: skip
    return ViT(**(arguments | changes))


def test_windows_go_row_by_row_and_back() -> None:
    x = torch.arange(2 * 5 * 7 * 2).float().view(2, 5, 7, 2)
    windows, padded_hw = window_partition(x, 3)
    assert (windows.shape, padded_hw) == ((2 * 2 * 3, 3, 3, 2), (6, 9))
    assert torch.equal(windows[1], x[0, :3, 3:6])
    assert torch.equal(windows[6], x[1, :3, :3])
    assert not windows[2][:, 1:].any()
    assert torch.equal(window_unpartition(windows, 3, padded_hw, (5, 7)), x)


def test_relative_positions_are_looked_up_by_distance() -> None:
    table = torch.arange(7.0)[:, None]  # of distances -3 to 3
    assert get_rel_pos(4, 4, table)[:, :, 0].tolist() == [
        [3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3],
    ]  # fmt: skip
    # Two keys lie where four queries are: under the first and the third.
    assert get_rel_pos(4, 2, table)[:, :, 0].tolist() == [[2, 0], [3, 1], [4, 2], [5, 3]]
    assert get_rel_pos(2, 2, table).shape == (2, 2, 1)


def test_attention_is_the_formula() -> None:
    torch.manual_seed(1)
    layer = Attention(8, num_heads=2, use_rel_pos=True, rel_pos_zero_init=False, input_size=(3, 4))
    layer = layer.double()
    x = torch.randn(1, 3, 4, 8, dtype=torch.float64)
    q, k, v = layer.qkv(x.view(12, 8)).split(8, dim=1)
    out = torch.zeros(12, 8, dtype=torch.float64)
    for head in (slice(0, 4), slice(4, 8)):
        scores = torch.zeros(12, 12, dtype=torch.float64)
        for a in range(12):
            for b in range(12):
                dy, dx = a // 4 - b // 4, a % 4 - b % 4
                position = layer.rel_pos_h[dy + 2] + layer.rel_pos_w[dx + 3]
                scores[a, b] = q[a, head] @ k[b, head] / 2 + q[a, head] @ position
        added = add_decomposed_rel_pos(
            (q[:, head] @ k[:, head].T / 2)[None],
            q[None, :, head],
            layer.rel_pos_h,
            layer.rel_pos_w,
            (3, 4),
            (3, 4),
        )
        torch.testing.assert_close(added[0], scores)
        out[:, head] = scores.softmax(dim=1) @ v[:, head]
    torch.testing.assert_close(layer(x).view(12, 8), layer.proj(out))


def test_a_block_is_torchvisions() -> None:
    torch.manual_seed(0)
    other = EncoderBlock(4, 32, 64, dropout=0.0, attention_dropout=0.0).eval()
    ours = Block(32, 4, mlp_ratio=2.0, norm_layer=lambda dim: nn.LayerNorm(dim, eps=1e-6))
    names = {
        "ln_1": "norm1", "ln_2": "norm2", "mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2",
        "self_attention.in_proj_": "attn.qkv.", "self_attention.out_proj": "attn.proj",
    }  # fmt: skip
    weights = {}
    for name, value in other.state_dict().items():
        old = next(old for old in names if name.startswith(old))
        weights[name.replace(old, names[old])] = value
    ours.load_state_dict(weights)
    x = torch.randn(2, 3, 5, 32)
    expected = other(x.flatten(1, 2)).view(2, 3, 5, 32)
    torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)


def test_cells_see_their_window_only() -> None:
    block = Block(16, 2, window_size=3, use_rel_pos=True).double().eval()
    x = torch.randn(1, 5, 7, 16).double()
    changed = x.clone()
    changed[0, 4, 6] = torch.randn(16)
    different = (block(x) != block(changed)).any(dim=3)[0]
    assert different.nonzero().tolist() == [[3, 6], [4, 6]]


def test_state_has_the_public_names() -> None:
    state = {k: tuple(v.shape) for k, v in vit(residual_block_indexes=[1]).state_dict().items()}
    assert state["pos_embed"] == (1, 17, 32)
    assert state["patch_embed.proj.weight"] == (32, 3, 8, 8)
    assert state["blocks.0.attn.rel_pos_h"] == (5, 8)
    assert state["blocks.1.attn.rel_pos_w"] == (15, 8)
    block = {name.removeprefix("blocks.1.") for name in state if name.startswith("blocks.1.")}
    layers = ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"]
    layers += [f"residual.norm{index}" for index in (1, 2, 3)]
    assert block == {
        *(f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")),
        *(f"residual.conv{index}.weight" for index in (1, 2, 3)),
        "attn.rel_pos_h",
        "attn.rel_pos_w",
    }


@pytest.mark.parametrize("size_hw", [(64, 64), (40, 72)])
def test_one_map_of_the_stride_of_a_patch(size_hw: tuple[int, int]) -> None:
    net = vit().eval()
    outputs = net(torch.randn(2, 3, *size_hw))
    assert {k: tuple(v.shape) for k, v in outputs.items()} == {
        "last_feat": (2, 32, size_hw[0] // 8, size_hw[1] // 8)
    }
    shape = net.output_shape()["last_feat"]
    assert (shape.channels, shape.stride) == (32, 8)


def test_a_residual_block_begins_as_nothing() -> None:
    plain, extended = vit().eval(), vit(residual_block_indexes=[0, 1, 2]).eval()
    extended.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(plain(x)["last_feat"], extended(x)["last_feat"])


def test_positions_are_those_of_the_map() -> None:
    table = torch.randn(1, 17, 6)
    assert torch.equal(get_abs_pos(table, True, (4, 4))[0, 1, 2], table[0, 1 + 6])
    assert get_abs_pos(table, True, (3, 9)).shape == (1, 3, 9, 6)
    with pytest.raises(ValueError, match="those of a square map; found 17 of them"):
        get_abs_pos(table, False, (4, 4))


def test_checkpointing_changes_memory_alone() -> None:
    x = torch.randn(1, 3, 32, 48)
    gradients = []
    for use in (False, True):
        net = vit(use_act_checkpoint=use).train()
        net(x)["last_feat"].square().sum().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_paths_are_dropped_more_towards_the_end() -> None:
    net = vit(drop_path_rate=0.4)
    assert [round(block.drop_path.p, 3) for block in net.blocks] == [0.0, 0.2, 0.4]
    x = torch.randn(1, 3, 64, 64)
    assert not torch.equal(net.train()(x)["last_feat"], net(x)["last_feat"])
    assert torch.equal(net.eval()(x)["last_feat"], net(x)["last_feat"])


def pyramid(**changes: Any) -> SimpleFeaturePyramid:
    arguments = {
        "net": vit(patch_size=16, pretrain_img_size=64), "in_feature": "last_feat",
        "out_channels": 24, "scale_factors": (4.0, 2.0, 1.0, 0.5),
        "top_block": LastLevelMaxPool(), "square_pad": 128,
    }  # fmt: skip
    return SimpleFeaturePyramid(**(arguments | changes))


def test_a_pyramid_of_one_map() -> None:
    model = pyramid()
    batch = ImageList.from_tensors(
        [torch.randn(3, 70, 100)], model.size_divisibility, 0.0, model.padding_constraints
    )
    assert batch.tensor.shape[2:] == (128, 128)
    outputs = model(torch.randn(2, 3, 64, 96))
    assert {k: tuple(v.shape[1:]) for k, v in outputs.items()} == {
        "p2": (24, 16, 24), "p3": (24, 8, 12), "p4": (24, 4, 6), "p5": (24, 2, 3), "p6": (24, 1, 2),
    }  # fmt: skip
    strides = {name: shape.stride for name, shape in model.output_shape().items()}
    assert strides == {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
    sum(level.square().sum() for level in outputs.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_pyramids_state_has_the_public_names() -> None:
    names = {n for n in pyramid().state_dict() if not n.startswith("net.")}
    assert {n for n in names if n.startswith("simfp_2.")} == {
        f"simfp_2.{layer}"
        for layer in [
            "0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias", "4.weight",
            "4.norm.weight", "4.norm.bias", "5.weight", "5.norm.weight", "5.norm.bias",
        ]
    }  # fmt: skip
    assert {n.split(".")[0] for n in names} == {"simfp_2", "simfp_3", "simfp_4", "simfp_5"}
    assert "simfp_5.1.norm.weight" in names
    assert "simfp_4.0.bias" in pyramid(norm="").state_dict()


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"scale_factors may be 4, 2, 1 and 0.5; found 3.0"):
        pyramid(scale_factors=[3.0])
    with pytest.raises(ValueError, match=r"in_feature is 'p4', but the network gives \['last_"):
        pyramid(in_feature="p4")
    with pytest.raises(ValueError, match="use_rel_pos needs input_size"):
        Attention(8, use_rel_pos=True)


def test_learning_rates_fall_towards_the_image() -> None:
    rates = {
        "backbone.net.pos_embed": 0.5**13,
        "backbone.net.patch_embed.proj.weight": 0.5**13,
        "backbone.net.blocks.0.attn.qkv.weight": 0.5**12,
        "backbone.net.blocks.11.mlp.fc1.bias": 0.5,
        "backbone.net.blocks.3.residual.conv1.weight": 1.0,
        "backbone.simfp_2.0.weight": 1.0,
        "roi_heads.blocks.0.weight": 1.0,
    }
    for name, rate in rates.items():
        assert get_vit_lr_decay_rate(name, 0.5, 12) == pytest.approx(rate)

"""Multiscale transformers: pooling attention against the formula, stages, windows."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from d2seg.core.modeling import FPN, MViT
from d2seg.core.modeling.backbone.mvit import MultiScaleAttention, MultiScaleBlock


def mvit(**changes: Any) -> MViT:
    torch.manual_seed(0)
    arguments = {
        "img_size": 64, "embed_dim": 8, "depth": 6, "last_block_indexes": (0, 2, 4, 5),
        "adaptive_window_size": 8, "num_heads": 1,
    }  # fmt: skip
    return MViT(**(arguments | changes))


def test_attention_is_the_formula() -> None:
    torch.manual_seed(0)
    layer = MultiScaleAttention(
        6, 8, 2, stride_q=2, stride_kv=4, use_rel_pos=True, rel_pos_zero_init=False,
        input_size=(4, 8),
    ).double()  # fmt: skip
    x = torch.randn(1, 4, 8, 6, dtype=torch.float64)
    maps = layer.qkv(x).split(8, dim=3)
    out = []
    for head in range(2):
        pooled = []
        for name, part, stride in zip("qkv", maps, (2, 4, 4), strict=True):
            weight = getattr(layer, f"pool_{name}").weight
            own = part[..., 4 * head : 4 * head + 4].permute(0, 3, 1, 2)
            small = F.conv2d(own, weight, stride=stride, padding=1, groups=4)
            pooled.append(F.layer_norm(small[0].permute(1, 2, 0), (4,)))
        q, k, v = pooled  # 2 x 4 queries, 1 x 2 keys
        rows = torch.zeros(2, 4, 4, dtype=torch.float64)
        for y in range(2):
            for column in range(4):
                query = q[y, column]
                scores = []
                for key in range(2):
                    # The one row of keys is at 0, the columns at 0 and 2 of the queries.
                    vertical = layer.rel_pos_h[y - 0 + 0]
                    horizontal = layer.rel_pos_w[column - 2 * key + 2]
                    scores.append(query @ k[0, key] / 2 + query @ (vertical + horizontal))
                weights = torch.stack(scores).softmax(dim=0)
                rows[y, column] = weights @ v[0] + query
        out.append(rows)
    torch.testing.assert_close(layer(x)[0], layer.proj(torch.cat(out, dim=2)))


@pytest.mark.parametrize("residual", [True, False])
def test_windows_of_queries_and_keys_belong_together(residual: bool) -> None:
    torch.manual_seed(0)
    layer = MultiScaleAttention(
        4, 4, 1, stride_q=2, stride_kv=2, window_size=4, residual_pooling=residual,
        pool_kernel=(1, 1),
    ).double()  # fmt: skip
    x = torch.randn(1, 8, 12, 4).double()
    changed = x.clone()
    changed[0, 4, 8] = torch.randn(4)
    different = (layer(x) != layer(changed)).any(dim=3)[0]
    # Of 2 x 3 windows of 2 x 2 pooled cells, the last.
    assert different.nonzero().tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


def test_a_block_that_halves_keeps_a_shortcut() -> None:
    block = MultiScaleBlock(8, 16, 2, stride_q=2, stride_kv=2)
    for layer in (block.attn.proj, block.mlp.fc2):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    x = torch.randn(2, 6, 10, 8)
    shortcut = block.proj(block.norm1(x)).permute(0, 3, 1, 2)
    expected = F.max_pool2d(shortcut, 3, 2, padding=1).permute(0, 2, 3, 1)
    torch.testing.assert_close(block(x), expected)


def test_stages() -> None:
    net = mvit().eval()
    outputs = net(torch.randn(2, 3, 64, 96))
    assert {k: tuple(v.shape) for k, v in outputs.items()} == {
        "scale2": (2, 8, 16, 24), "scale3": (2, 16, 8, 12), "scale4": (2, 32, 4, 6),
        "scale5": (2, 64, 2, 3),
    }  # fmt: skip
    assert {k: (s.channels, s.stride) for k, s in net.output_shape().items()} == {
        "scale2": (8, 4), "scale3": (16, 8), "scale4": (32, 16), "scale5": (64, 32),
    }  # fmt: skip
    attentions = [block.attn for block in net.blocks]
    assert [a.num_heads for a in attentions] == [1, 2, 2, 4, 4, 8]
    assert [a.pool_q.stride[0] for a in attentions] == [1, 2, 1, 2, 1, 2]
    assert [a.pool_k.stride[0] for a in attentions] == [4, 2, 4, 1, 2, 1]
    assert [a.window_q for a in attentions] == [8, 4, 0, 2, 0, 0]
    assert [a.window_kv for a in attentions] == [2, 4, 0, 4, 0, 0]


def test_the_published_tiny_network_has_its_size() -> None:
    with torch.device("meta"):
        net = MViT(depth=10, last_block_indexes=(0, 2, 7, 9))
    count = sum(parameter.numel() for parameter in net.parameters())
    assert count == pytest.approx(24e6, rel=0.03)  # the paper, table 1, with its classifier


def test_state_has_the_public_names() -> None:
    state = {k: tuple(v.shape) for k, v in mvit(use_abs_pos=True).state_dict().items()}
    assert state["pos_embed"] == (1, 56 * 56 + 1, 8)
    assert state["patch_embed.proj.weight"] == (8, 3, 7, 7)
    assert state["blocks.1.attn.pool_q.weight"] == (8, 1, 3, 3)
    assert state["blocks.1.attn.rel_pos_h"] == (2 * 8 - 1, 8)
    block = {name.removeprefix("blocks.1.") for name in state if name.startswith("blocks.1.")}
    layers = ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2", "proj"]
    layers += [f"attn.norm_{part}" for part in "qkv"]
    assert block == {
        *(f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")),
        *(f"attn.pool_{part}.weight" for part in "qkv"),
        "attn.rel_pos_h",
        "attn.rel_pos_w",
    }
    assert {n for n in state if "_norm." in n and n.endswith("bias")} == {
        f"scale{stage}_norm.bias" for stage in range(2, 6)
    }


@pytest.mark.parametrize("checkpointed", [False, True])
def test_everything_learns(checkpointed: bool) -> None:
    model = FPN(
        mvit(use_act_checkpoint=checkpointed), ["scale2", "scale3", "scale4", "scale5"], 8
    ).train()
    outputs = model(torch.randn(1, 3, 64, 96))
    assert list(outputs) == ["p2", "p3", "p4", "p5"]
    sum(level.square().sum() for level in outputs.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"ends with depth - 1; found \(0, 2, 4, 5\) for a depth"):
        mvit(depth=7)
    with pytest.raises(ValueError, match="may name scale2 to scale5; found 'res2'"):
        mvit(out_features=["res2"])
    with pytest.raises(ValueError, match="use_rel_pos needs input_size"):
        MultiScaleAttention(4, 4, 1, use_rel_pos=True)

"""Swin transformers against torchvision's, and their parts."""

import re
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from d2seg.core.modeling import FPN, SwinTransformer
from d2seg.core.modeling.backbone.swin_blocks import (
    PatchMerging,
    SwinTransformerBlock,
    relative_position_index,
    shift_mask,
)


def swin(**changes: Any) -> SwinTransformer:
    torch.manual_seed(0)
    arguments = {
        "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "window_size": 3,
        "out_indices": (0, 1), "drop_path_rate": 0.0,
    }  # fmt: skip
    return SwinTransformer(**(arguments | changes))


def public_name(name: str) -> str:
    """Return our name of a torchvision weight; its even features are mergings, its odd stages."""
    number = int(name.split(".")[1])
    if number == 0:
        return name.replace("features.0.0", "patch_embed.proj").replace(
            "features.0.2", "patch_embed.norm"
        )
    stage = f"layers.{(number - 1) // 2}."
    part = "blocks" if number % 2 else "downsample"
    name = re.sub(r"^features\.\d", stage + part, name)
    return name.replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")


def test_it_is_torchvisions_network() -> None:
    torch.manual_seed(0)
    other = torchvision.models.SwinTransformer([4, 4], 16, [2, 2, 4], [2, 4, 8], [3, 3]).eval()
    ours = swin(depths=(2, 2, 4), num_heads=(2, 4, 8), out_indices=(0, 1, 2)).eval()
    for module in other.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight)
    weights = {}
    for name, value in other.state_dict().items():
        if name.startswith(("head.", "norm.")):
            continue
        ours_is = public_name(name)
        table = ours_is.endswith("relative_position_index")
        weights[ours_is] = value.view(9, 9) if table else value
    missing = ours.load_state_dict(weights, strict=False)
    assert missing.unexpected_keys == []
    assert {name.split(".")[0] for name in missing.missing_keys} == {"norm0", "norm1", "norm2"}
    x = torch.randn(2, 3, 52, 68)  # of 13 x 17, 7 x 9, 4 x 5 cells
    with torch.no_grad():
        features = other.features(x)
        found = ours(x)["p2"]
    normed = torch.nn.functional.layer_norm(features, (64,))
    torch.testing.assert_close(found, normed.permute(0, 3, 1, 2), rtol=1e-4, atol=1e-4)


def test_relative_positions_are_numbered_by_row_then_column() -> None:
    index = relative_position_index(2)  # cells 00 01 10 11
    assert index.tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_cells_from_opposite_borders_do_not_see_each_other() -> None:
    mask = shift_mask((4, 8), window_size=4, shift=1)
    assert mask.shape == (2, 16, 16)
    assert mask.unique().tolist() == [-float("inf"), 0.0]
    # Of the first window the last row came from the top; of the second the last column too.
    seen = [(mask[window] == 0).sum(dim=1).view(4, 4).tolist() for window in (0, 1)]
    assert seen[0] == [[12] * 4] * 3 + [[4] * 4]
    assert seen[1] == [[9, 9, 9, 3]] * 3 + [[3, 3, 3, 1]]


def test_shifted_windows_reach_across_borders_of_windows() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 6, 9, 8).double()
    changed = x.clone()
    changed[0, 0, 0] = torch.randn(8)

    def reached(shift: int) -> list[list[int]]:
        block = SwinTransformerBlock(8, 2, window_size=3, shift_size=shift).double().eval()
        return (block(x) != block(changed)).any(dim=3)[0].nonzero().tolist()

    assert reached(0) == [[row, column] for row in range(3) for column in range(3)]
    # The corner is a window of its own when windows begin at 1.
    assert reached(1) == [[0, 0]]


def test_merging_takes_four_cells_and_pads_odd_sides() -> None:
    layer = PatchMerging(2, norm_layer=lambda _: nn.Identity())
    nn.init.eye_(layer.reduction.weight)
    x = torch.arange(15.0).view(1, 3, 5, 1).repeat(1, 1, 1, 2)
    assert layer(x).shape == (1, 2, 3, 4)
    # The first half of the channels: upper left and lower left.
    assert layer(x)[0, 0, 1].tolist() == [2.0, 2.0, 7.0, 7.0]
    assert layer(x)[0, 1, 2].tolist() == [14.0, 14.0, 0.0, 0.0]


@pytest.mark.parametrize("ape", [False, True])
def test_outputs_of_every_stage(ape: bool) -> None:
    net = swin(ape=ape, pretrain_img_size=32).eval()
    outputs = net(torch.randn(2, 3, 45, 70))
    assert {k: tuple(v.shape) for k, v in outputs.items()} == {
        "p0": (2, 16, 12, 18), "p1": (2, 32, 6, 9),
    }  # fmt: skip
    assert {k: (s.channels, s.stride) for k, s in net.output_shape().items()} == {
        "p0": (16, 4), "p1": (32, 8),
    }  # fmt: skip
    assert ("absolute_pos_embed" in net.state_dict()) == ape


def test_it_learns_and_freezes() -> None:
    x = torch.randn(1, 3, 32, 48)
    pyramid = FPN(swin(), ["p0", "p1"], 8, norm="")
    sum(level.square().sum() for level in pyramid(x).values()).backward()
    assert all(parameter.grad is not None for parameter in pyramid.parameters())
    net = swin(frozen_stages=2, ape=True, drop_rate=0.5).train()
    learning = {n.split(".")[0] + n[6:9] for n, p in net.named_parameters() if p.requires_grad}
    assert not any(name.startswith(("patch", "absolute", "layers.0")) for name in learning)
    assert any(name.startswith("layers.1") for name in learning)
    assert not net.layers[0].training
    assert net.layers[1].training


def test_checkpointing_changes_memory_alone() -> None:
    gradients = []
    for use in (False, True):
        net = swin(use_checkpoint=use).train()
        sum(o.sum() for o in net(torch.ones(1, 3, 24, 24)).values()).backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_shifts_are_within_a_window() -> None:
    with pytest.raises(ValueError, match=r"shift_size must be in \[0, 3\), but is 3"):
        SwinTransformerBlock(8, 2, window_size=3, shift_size=3)

"""Norms by name, frozen batch norm, and the convolution with extras."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from d2seg.core.layers import (
    CNNBlockBase,
    Conv2d,
    FrozenBatchNorm2d,
    LayerNorm,
    ROIAlign,
    cross_entropy,
    get_norm,
)


def trained_batch_norm() -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(6)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_()
    for _ in range(3):
        norm(torch.randn(4, 6, 5, 7) * 3 + 1)
    return norm.eval()


@pytest.mark.parametrize("requires_grad", [False, True])
def test_frozen_batch_norm_is_batch_norm_in_evaluation(requires_grad: bool) -> None:
    norm = trained_batch_norm()
    frozen = FrozenBatchNorm2d(6)
    frozen.load_state_dict(norm.state_dict())  # the batch counter has no meaning, and no error
    x = torch.randn(2, 6, 5, 7, requires_grad=requires_grad)
    torch.testing.assert_close(frozen(x), norm(x))
    assert list(frozen.parameters()) == []


@pytest.mark.parametrize("bias", [False, True])
def test_training_folds_a_frozen_norm_into_its_convolution(bias: bool) -> None:
    norm = FrozenBatchNorm2d(6)
    norm.load_state_dict(trained_batch_norm().state_dict())
    folded = Conv2d(3, 6, (3, 1), bias=bias, norm=norm, activation=F.relu)
    plain = nn.Conv2d(3, 6, (3, 1), bias=bias)
    plain.load_state_dict({k: v for k, v in folded.state_dict().items() if "norm" not in k})
    x = torch.randn(2, 3, 5, 7, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    found, expected = folded(x), F.relu(norm(plain(other)))
    torch.testing.assert_close(found, expected)
    weighting = torch.randn_like(found)
    (found * weighting).sum().backward()
    (expected * weighting).sum().backward()
    torch.testing.assert_close(x.grad, other.grad)
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(folded.get_parameter(name).grad, parameter.grad)
    assert all(buffer.grad is None for buffer in norm.buffers())


def test_who_watches_a_frozen_norm_sees_what_goes_through_it() -> None:
    norm = FrozenBatchNorm2d(6)
    conv = Conv2d(3, 6, 1, norm=norm)
    seen = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    out = conv(torch.randn(2, 3, 5, 7))
    assert seen[0] is out


def test_converting_replaces_every_batch_norm_and_keeps_its_values() -> None:
    block = nn.Sequential(
        nn.Conv2d(6, 6, 1), trained_batch_norm(), nn.Sequential(nn.SyncBatchNorm(6))
    )
    x = torch.randn(2, 6, 5, 7)
    before = block.eval()(x)
    names = block.state_dict().keys()
    assert FrozenBatchNorm2d.convert_frozen_batchnorm(block) is block
    assert isinstance(block[1], FrozenBatchNorm2d)
    assert isinstance(block[2][0], FrozenBatchNorm2d)
    assert block.state_dict().keys() == names  # the counter stays, as in detectron2
    torch.testing.assert_close(block(x), before)


def test_freezing_a_block_fixes_its_parameters() -> None:
    block = CNNBlockBase(3, 6, 1)
    block.conv = Conv2d(3, 6, 3, norm=nn.BatchNorm2d(6))
    block.freeze()
    assert isinstance(block.conv.norm, FrozenBatchNorm2d)
    assert [p.requires_grad for p in block.parameters()] == [False, False]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BN", nn.BatchNorm2d),
        ("SyncBN", nn.SyncBatchNorm),
        ("FrozenBN", FrozenBatchNorm2d),
        ("GN", nn.GroupNorm),
        ("LN", LayerNorm),
    ],
)
def test_norms_by_name(name: str, kind: type) -> None:
    norm = get_norm(name, 64)
    assert isinstance(norm, kind)
    assert norm(torch.randn(2, 64, 5, 7)).shape == (2, 64, 5, 7)


def test_no_norm_and_a_function_as_norm() -> None:
    assert get_norm("", 8) is None
    assert isinstance(get_norm(nn.BatchNorm2d, 8), nn.BatchNorm2d)


def test_unknown_norm_and_channels_that_do_not_divide_are_named() -> None:
    with pytest.raises(
        ValueError, match="NORM is 'BatchNorm', but must be '' or one of BN, SyncBN"
    ):
        get_norm("BatchNorm", 8)
    with pytest.raises(ValueError, match="32 groups, but a layer has 40"):
        get_norm("GN", 40)


def test_layer_norm_normalises_the_channels_of_each_pixel() -> None:
    out = LayerNorm(64)(torch.randn(2, 64, 5, 7) * 9 + 4)
    torch.testing.assert_close(out.mean(dim=1), torch.zeros(2, 5, 7), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        out.var(dim=1, unbiased=False), torch.ones(2, 5, 7), rtol=1e-4, atol=0
    )


def test_convolution_applies_norm_then_activation() -> None:
    norm = trained_batch_norm()
    conv = Conv2d(3, 6, 3, padding=1, norm=norm, activation=F.relu)
    x = torch.randn(2, 3, 5, 7)
    torch.testing.assert_close(
        conv(x), F.relu(norm(F.conv2d(x, conv.weight, conv.bias, padding=1)))
    )


def test_cross_entropy_of_nothing_is_zero_with_a_gradient() -> None:
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0.0


def test_roi_align_pools_rectangles() -> None:
    x = torch.arange(24.0).view(1, 1, 4, 6)
    pooled = ROIAlign((2, 3), 1.0, 1)(x, torch.tensor([[0.0, 0, 0, 6, 4]]))
    # Each cell is sampled in its middle, on the corner of four pixels.
    assert pooled.tolist() == [[[[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]]]

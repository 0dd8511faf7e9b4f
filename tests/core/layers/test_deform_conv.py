"""Deformable convolutions, where they can be checked against plain ones."""

import pytest
import torch
import torch.nn.functional as F

from d2seg.core.layers import CycleBatchNormList, DeformConv, ModulatedDeformConv
from d2seg.core.layers.deform_conv import deform_conv, modulated_deform_conv

X = torch.randn(2, 4, 7, 9)


def test_without_offsets_it_is_a_convolution() -> None:
    layer = DeformConv(4, 6, 3, stride=2, padding=1, groups=2)
    expected = F.conv2d(X, layer.weight, stride=2, padding=1, groups=2)
    offset = torch.zeros(2, 18, *expected.shape[2:])
    torch.testing.assert_close(layer(X, offset), expected, atol=1e-5, rtol=1e-4)


def test_an_offset_is_y_then_x() -> None:
    layer = DeformConv(4, 6, 1)
    offset = torch.zeros(2, 2, 7, 9)
    offset[:, 0] = 1.0  # one cell down
    below = F.pad(X, (0, 0, 0, 1))[:, :, 1:]
    torch.testing.assert_close(
        layer(X, offset), F.conv2d(below, layer.weight), atol=1e-5, rtol=1e-4
    )


def test_weights_of_samples_scale_them() -> None:
    layer = ModulatedDeformConv(4, 6, 3, padding=1, deformable_groups=2)
    offset = torch.zeros(2, 36, 7, 9)
    plain = F.conv2d(X, layer.weight, padding=1)
    assert layer.bias is not None
    half = layer(X, offset, torch.full((2, 18, 7, 9), 0.5))
    torch.testing.assert_close(half, 0.5 * plain, atol=1e-5, rtol=1e-4)


def test_functions_are_the_layers_with_a_given_weight() -> None:
    plain = DeformConv(4, 6, 3, stride=2, padding=1, groups=2, deformable_groups=2)
    offset, mask = torch.randn(2, 36, 4, 5), torch.rand(2, 18, 4, 5)
    out = deform_conv(X, offset, plain.weight, 2, 1, 1, 2, 2)
    torch.testing.assert_close(out, plain(X, offset))
    layer = ModulatedDeformConv(4, 6, 3, stride=2, padding=1, groups=2, deformable_groups=2)
    out = modulated_deform_conv(X, offset, mask, layer.weight, layer.bias, 2, 1, 1, 2, 2)
    torch.testing.assert_close(out, layer(X, offset, mask))
    with pytest.raises(ValueError, match="weight of 4 input channels and 18 offsets; found 2 and"):
        deform_conv(X, offset, plain.weight, 2, 1)


def test_norm_and_activation_come_last() -> None:
    layer = DeformConv(4, 6, 1, norm=torch.nn.BatchNorm2d(6), activation=F.relu)
    out = layer(X, torch.zeros(2, 2, 7, 9))
    assert out.min() == 0
    begin = "DeformConv(\n  in_channels=4, out_channels=6, kernel_size=(1, 1)"
    assert repr(layer).startswith(begin)


def test_layers_are_described_as_detectron2_does() -> None:
    plain = repr(DeformConv(5, 8, 3, stride=2, deformable_groups=2))
    assert plain.endswith(
        "stride=(2, 2), padding=(0, 0), dilation=(1, 1), groups=1, deformable_groups=2, bias=False)"
    )
    modulated = repr(ModulatedDeformConv(5, 8, 3, stride=2))
    assert modulated.endswith(
        "stride=2, padding=0, dilation=1, groups=1, deformable_groups=1, bias=True)"
    )


def test_what_does_not_divide_is_named() -> None:
    with pytest.raises(ValueError, match="4 input channels do not divide into 3 groups"):
        DeformConv(4, 6, 3, groups=3)
    with pytest.raises(ValueError, match="5 output channels do not divide into 2 groups"):
        DeformConv(4, 5, 3, groups=2)
    with pytest.raises(ValueError, match="DeformConv has no bias"):
        DeformConv(4, 6, 3, bias=True)


def test_norms_take_turns_and_share_their_scale() -> None:
    norms = CycleBatchNormList(2, num_features=4).train()
    with torch.no_grad():
        norms.weight.fill_(3.0)
        norms.bias.fill_(1.0)
    first, second = norms(X), norms(X + 100)
    torch.testing.assert_close(first.mean(), torch.tensor(1.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(first, second, atol=1e-3, rtol=1e-3)
    assert norms[0].running_mean.max() < 1 < norms[1].running_mean.min()
    assert set(dict(norms.named_parameters())) == {"weight", "bias"}

"""The blocks of residual networks (ResNet, arXiv:1512.03385; ResNeXt, arXiv:1611.05431)."""

from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn.weight_init import c2_msra_fill
from torch import Tensor, nn

from d2seg.core.layers import (
    CNNBlockBase,
    Conv2d,
    DeformConv,
    ModulatedDeformConv,
    get_norm,
)
from d2seg.core.layers.conv import channels_last, convolve, is_watched, rectify, rectify_sum


def _conv_norm(
    in_channels: int, out_channels: int, kernel: int, norm: Any, **kwargs: Any
) -> Conv2d:
    """Build a convolution without bias, followed by a norm, that keeps the size at stride 1."""
    padding = kernel // 2 * kwargs.get("dilation", 1)
    return Conv2d(
        in_channels,
        out_channels,
        kernel,
        padding=padding,
        bias=False,
        norm=get_norm(norm, out_channels),
        **kwargs,
    )


def _fill(*convs: nn.Module | None) -> None:
    """Set the weights of new convolutions (arXiv:1502.01852), in this order.

    Blocks are filled when they are complete: with a seed the weights are then detectron2's.
    """
    for conv in convs:
        if conv is not None:
            c2_msra_fill(conv)


class BasicStem(CNNBlockBase):
    """The layers before the first residual stage: a 7x7 convolution and a max pool, stride 4.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the output.
        norm: As of `d2seg.core.layers.get_norm`.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm: Any = "BN") -> None:
        super().__init__(in_channels, out_channels, 4)
        self.conv1 = _conv_norm(in_channels, out_channels, 7, norm, stride=2)
        _fill(self.conv1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / 4, W / 4)."""
        if torch.jit.is_scripting():
            x = F.relu(self.conv1(x))
        else:
            x = convolve(self.conv1, channels_last(x), relu=True)
        return F.max_pool2d(x, kernel_size=3, stride=2, padding=1)


class BasicBlock(CNNBlockBase):
    """Two 3x3 convolutions, as in ResNet-18 and 34.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Of the first convolution.
        norm: As of `d2seg.core.layers.get_norm`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, norm: Any = "BN"
    ) -> None:
        super().__init__(in_channels, out_channels, stride)
        self.shortcut = _projection(in_channels, out_channels, stride, norm)
        self.conv1 = _conv_norm(in_channels, out_channels, 3, norm, stride=stride)
        self.conv2 = _conv_norm(out_channels, out_channels, 3, norm)
        _fill(self.conv1, self.conv2, self.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        if torch.jit.is_scripting():
            residual = self.conv2(rectify(self.conv1(x)))
            if self.shortcut is not None:
                x = self.shortcut(x)
            return rectify_sum(residual, x)
        else:  # TorchScript leaves out branches, not what follows them
            hidden = convolve(self.conv1, x, relu=True)
            owned = _gives_away(self.shortcut)
            if self.shortcut is not None:
                x = self.shortcut(x)
            return convolve(self.conv2, hidden, relu=True, residual=x, owned=owned)


class BottleneckBlock(CNNBlockBase):
    """Three convolutions 1x1, 3x3, 1x1, as in ResNet-50, 101, 152 and ResNeXt.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        bottleneck_channels: Channels of the 3x3 convolution.
        stride: Of the block.
        num_groups: Groups of the 3x3 convolution.
        norm: As of `d2seg.core.layers.get_norm`.
        stride_in_1x1: Whether the first 1x1 convolution has the stride (as in the original
            MSRA models) or the 3x3 one (as in torchvision's).
        dilation: Of the 3x3 convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: Any = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, stride)
        self.conv2: nn.Module
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.shortcut = _projection(in_channels, out_channels, stride, norm)
        self.conv1 = _conv_norm(in_channels, bottleneck_channels, 1, norm, stride=stride_1x1)
        self.conv2 = _conv_norm(
            bottleneck_channels,
            bottleneck_channels,
            3,
            norm,
            stride=stride_3x3,
            groups=num_groups,
            dilation=dilation,
        )
        self.conv3 = _conv_norm(bottleneck_channels, out_channels, 1, norm)
        _fill(self.conv1, self.conv2, self.conv3, self.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        if torch.jit.is_scripting():
            residual = self.conv3(rectify(self._spatial(rectify(self.conv1(x)))))
            if self.shortcut is not None:
                x = self.shortcut(x)
            return rectify_sum(residual, x)
        else:  # as in BasicBlock
            hidden = self._activated(convolve(self.conv1, x, relu=True))
            owned = _gives_away(self.shortcut)
            if self.shortcut is not None:
                x = self.shortcut(x)
            return convolve(self.conv3, hidden, relu=True, residual=x, owned=owned)

    def _spatial(self, x: Tensor) -> Tensor:
        """Run the one layer that looks beyond a cell."""
        return self.conv2(x)

    @torch.jit.unused
    def _activated(self, x: Tensor) -> Tensor:
        """Run it with its ReLU."""
        return convolve(self.conv2, x, relu=True)


class DeformBottleneckBlock(BottleneckBlock):
    """A bottleneck whose 3x3 convolution looks where it is told to by another one.

    The offsets are predicted for each output cell (arXiv:1703.06211), and in the modulated version
    weights of the samples too (arXiv:1811.11168).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        deform_modulated: Whether to predict weights beside offsets.
        deform_num_groups: Groups of input channels with offsets of their own.
        **kwargs: As of `BottleneckBlock`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        deform_modulated: bool = False,
        deform_num_groups: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, **kwargs)
        self.deform_modulated = deform_modulated
        plain: Any = self.conv2
        geometry: dict[str, Any] = {
            "kernel_size": 3,
            "stride": plain.stride,
            "padding": plain.padding,
            "dilation": plain.dilation,
        }
        # Two coordinates of each of the nine samples, and a weight where they are modulated.
        values = 27 if deform_modulated else 18
        self.conv2_offset = Conv2d(plain.in_channels, values * deform_num_groups, **geometry)
        nn.init.zeros_(self.conv2_offset.weight)
        nn.init.zeros_(self.conv2_offset.bias)  # type: ignore[arg-type]
        deformable = ModulatedDeformConv if deform_modulated else DeformConv
        self.conv2 = deformable(
            plain.in_channels,
            plain.out_channels,
            **geometry,
            groups=plain.groups,
            deformable_groups=deform_num_groups,
            bias=False,
            norm=plain.norm,
        )
        c2_msra_fill(self.conv2)

    @torch.jit.unused
    def _activated(self, x: Tensor) -> Tensor:
        return rectify(self._spatial(x))

    def _spatial(self, x: Tensor) -> Tensor:
        predicted = self.conv2_offset(x)
        if not self.deform_modulated:
            return self.conv2(x, predicted)
        first, second, weights = predicted.chunk(3, dim=1)
        return self.conv2(x, torch.cat([first, second], dim=1), weights.sigmoid())


def _gives_away(shortcut: nn.Module | None) -> bool:
    """Tell whether nobody else holds what a shortcut returns."""
    if type(shortcut) is not Conv2d:
        return False
    return not any(is_watched(module) for module in shortcut.modules())


def _projection(in_channels: int, out_channels: int, stride: int, norm: Any) -> Conv2d | None:
    """Build the 1x1 convolution of a shortcut where the number of channels changes."""
    if in_channels == out_channels:
        return None
    return _conv_norm(in_channels, out_channels, 1, norm, stride=stride)

"""Stems and blocks of RegNet (arXiv:2003.13678, figure 4); names as in pycls."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.layers import CNNBlockBase, get_norm

Activation = Callable[[], nn.Module]


class SimpleStem(CNNBlockBase):
    """One 3x3 convolution of stride 2.

    Args:
        w_in: Channels of the image.
        w_out: Channels of the output.
        norm: As of `d2seg.core.layers.get_norm`.
        activation_class: Builds the activation; None for ReLU.
    """

    kernel_size = 3

    def __init__(
        self, w_in: int, w_out: int, norm: Any, activation_class: Activation | None = None
    ) -> None:
        super().__init__(w_in, w_out, 2)
        self.conv = _conv(w_in, w_out, self.kernel_size, stride=2)
        self.bn = get_norm(norm, w_out)
        self.af = _activation(activation_class)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, w_in, H, W) to (B, w_out, H / 2, W / 2)."""
        return self.af(_normalised(self.bn, self.conv(x)))


class ResStem(SimpleStem):
    """A 7x7 convolution of stride 2 and a max pool, as in ResNet; arguments as of `SimpleStem`."""

    kernel_size = 7

    def __init__(
        self, w_in: int, w_out: int, norm: Any, activation_class: Activation | None = None
    ) -> None:
        super().__init__(w_in, w_out, norm, activation_class)
        self.stride = 4

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, w_in, H, W) to (B, w_out, H / 4, W / 4)."""
        return F.max_pool2d(super().forward(x), kernel_size=3, stride=2, padding=1)


class SE(nn.Module):
    """Squeeze and excitation: weighs the channels by what the whole image shows (1709.01507).

    Args:
        w_in: Channels.
        w_se: Channels in between.
        activation_class: Builds the activation in between; None for ReLU.
    """

    def __init__(self, w_in: int, w_se: int, activation_class: Activation | None = None) -> None:
        super().__init__()
        self.f_ex = nn.Sequential(
            _conv(w_in, w_se, 1, bias=True),
            _activation(activation_class),
            _conv(w_se, w_in, 1, bias=True),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, w_in, H, W) to the same shape."""
        return x * self.f_ex(x.mean(dim=(2, 3), keepdim=True))


class BottleneckTransform(nn.Module):
    """Convolutions 1x1, 3x3 in groups, 1x1, each with a norm; optionally squeeze and excitation.

    Args:
        w_in: Channels of the input.
        w_out: Channels of the output.
        stride: Of the 3x3 convolution.
        norm: As of `d2seg.core.layers.get_norm`.
        activation_class: Builds the activations; None for ReLU.
        bottleneck_ratio: Channels of the 3x3 convolution for each of ``w_out``.
        group_width: Channels of each of its groups.
        se_ratio: Channels inside squeeze and excitation for each of ``w_in``; 0 for none.
    """

    def __init__(
        self,
        w_in: int,
        w_out: int,
        stride: int,
        norm: Any,
        activation_class: Activation | None,
        bottleneck_ratio: float,
        group_width: int,
        se_ratio: float,
    ) -> None:
        super().__init__()
        width = round(w_out * bottleneck_ratio)
        self.a = _conv(w_in, width, 1)
        self.a_bn = get_norm(norm, width)
        self.a_af = _activation(activation_class)
        self.b = _conv(width, width, 3, stride=stride, groups=width // group_width)
        self.b_bn = get_norm(norm, width)
        self.b_af = _activation(activation_class)
        self.se = SE(width, round(w_in * se_ratio), activation_class) if se_ratio else None
        self.c = _conv(width, w_out, 1)
        self.c_bn = get_norm(norm, w_out)
        # Every block begins as its shortcut (arXiv:1706.02677, section 5.1).
        if isinstance(self.c_bn, nn.BatchNorm2d):
            nn.init.zeros_(self.c_bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, w_in, H, W) to (B, w_out, H / stride, W / stride)."""
        x = self.a_af(_normalised(self.a_bn, self.a(x)))
        x = self.b_af(_normalised(self.b_bn, self.b(x)))
        if self.se is not None:
            x = self.se(x)
        return _normalised(self.c_bn, self.c(x))


class ResBottleneckBlock(CNNBlockBase):
    """A `BottleneckTransform`, named ``f``, beside a shortcut; arguments as of that."""

    def __init__(
        self,
        w_in: int,
        w_out: int,
        stride: int,
        norm: Any,
        activation_class: Activation | None = None,
        *,
        bottleneck_ratio: float = 1.0,
        group_width: int = 1,
        se_ratio: float = 0.0,
    ) -> None:
        super().__init__(w_in, w_out, stride)
        self.proj = self.bn = None
        if w_in != w_out or stride != 1:
            self.proj = _conv(w_in, w_out, 1, stride=stride)
            self.bn = get_norm(norm, w_out)
        self.f = BottleneckTransform(
            w_in, w_out, stride, norm, activation_class, bottleneck_ratio, group_width, se_ratio
        )
        self.af = _activation(activation_class)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, w_in, H, W) to (B, w_out, H / stride, W / stride)."""
        shortcut = x if self.proj is None else _normalised(self.bn, self.proj(x))
        return self.af(shortcut + self.f(x))


def _conv(w_in: int, w_out: int, kernel: int, bias: bool = False, **kwargs: Any) -> nn.Conv2d:
    conv = nn.Conv2d(w_in, w_out, kernel, padding=kernel // 2, bias=bias, **kwargs)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _activation(activation_class: Activation | None) -> nn.Module:
    return nn.ReLU() if activation_class is None else activation_class()


def _normalised(norm: nn.Module | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)

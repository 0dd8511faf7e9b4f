"""Deformable convolutions (arXiv:1703.06211; modulated, arXiv:1811.11168), by torchvision."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d


class _DeformableConvolution(nn.Module):
    """The weights of a convolution whose sampling positions come with the input.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel.
        stride: Of the sampling grid.
        padding: Zeros around the input.
        dilation: Cells between the taps of the kernel.
        groups: Groups of channels that are convolved apart.
        deformable_groups: Groups of input channels with positions of their own.
        bias: Whether to add a bias.
        norm: Applied to the output of the convolution.
        activation: Applied last.
    """

    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = False,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        for name, channels in (("input", in_channels), ("output", out_channels)):
            if channels % groups:
                raise ValueError(f"{channels} {name} channels do not divide into {groups} groups.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair(kernel_size)
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.deformable_groups = deformable_groups
        self.norm = norm
        self.activation = activation
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels // groups, *self.kernel_size)
        )
        self.register_parameter("bias", nn.Parameter(torch.zeros(out_channels)) if bias else None)
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")

    def _convolve(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        x = deform_conv2d(
            x,
            offset,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            mask=mask,
        )
        if self.norm is not None:
            x = self.norm(x)
        return x if self.activation is None else self.activation(x)

    def extra_repr(self) -> str:
        """Describe the layer in ``print(model)``."""
        names = ("kernel_size", "stride", "padding", "dilation", "groups", "deformable_groups")
        return (
            f"in_channels={self.in_channels}, out_channels={self.out_channels}, "
            + "".join(f"{name}={getattr(self, name)}, " for name in names)
            + f"bias={self.bias is not None}"
        )


class DeformConv(_DeformableConvolution):
    """Convolution that samples at given offsets from the grid."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.bias is not None:
            raise ValueError("DeformConv has no bias; set bias=False.")
        self.stride, self.padding = _pair(self.stride), _pair(self.padding)
        self.dilation = _pair(self.dilation)

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: (B, C_in, H, W) float.
            offset: (B, deformable_groups * taps * 2, H', W') float, y and x in cells of each tap.

        Returns:
            (B, C_out, H', W') float.
        """
        return self._convolve(x, offset, None)


class ModulatedDeformConv(_DeformableConvolution):
    """Convolution that samples at given offsets from the grid, with a weight for each sample."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        has_bias = len(args) > 8 or "bias" in kwargs
        super().__init__(*args, **(kwargs if has_bias else {**kwargs, "bias": True}))

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: (B, C_in, H, W) float.
            offset: (B, deformable_groups * taps * 2, H', W') float, y and x in cells of each tap.
            mask: (B, deformable_groups * taps, H', W') float, usually in [0, 1].

        Returns:
            (B, C_out, H', W') float.
        """
        return self._convolve(x, offset, mask)


def deform_conv(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    deformable_groups: int = 1,
    im2col_step: int = 64,
) -> Tensor:
    """Convolve as `DeformConv` does, with a given weight.

    Args:
        input: (B, C_in, H, W) float.
        offset: (B, deformable_groups * taps * 2, H', W') float.
        weight: (C_out, C_in / groups, kernel height, kernel width) float.
        stride: Of the sampling grid.
        padding: Zeros around the input.
        dilation: Cells between the taps of the kernel.
        groups: Groups of channels that are convolved apart.
        deformable_groups: Groups of input channels with positions of their own.
        im2col_step: Accepted as in detectron2; the result does not depend on it.

    Returns:
        (B, C_out, H', W') float.

    Raises:
        ValueError: The shapes are not those of so many groups.
    """
    _require_groups(input, offset, weight, groups, deformable_groups)
    return deform_conv2d(
        input, offset, weight, None, _pair(stride), _pair(padding), _pair(dilation)
    )


def modulated_deform_conv(
    input: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    deformable_groups: int = 1,
) -> Tensor:
    """Convolve as `ModulatedDeformConv` does, with a given weight; see `deform_conv`.

    Args:
        input: (B, C_in, H, W) float.
        offset: (B, deformable_groups * taps * 2, H', W') float.
        mask: (B, deformable_groups * taps, H', W') float, usually in [0, 1].
        weight: (C_out, C_in / groups, kernel height, kernel width) float.
        bias: (C_out,) float.
        stride: Of the sampling grid.
        padding: Zeros around the input.
        dilation: Cells between the taps of the kernel.
        groups: Groups of channels that are convolved apart.
        deformable_groups: Groups of input channels with positions of their own.

    Returns:
        (B, C_out, H', W') float.

    Raises:
        ValueError: The shapes are not those of so many groups.
    """
    _require_groups(input, offset, weight, groups, deformable_groups)
    return deform_conv2d(
        input, offset, weight, bias, _pair(stride), _pair(padding), _pair(dilation), mask
    )


def _require_groups(
    x: Tensor, offset: Tensor, weight: Tensor, groups: int, deformable_groups: int
) -> None:
    # torchvision derives both numbers from the shapes.
    taps = weight.shape[2] * weight.shape[3]
    if x.shape[1] != groups * weight.shape[1] or offset.shape[1] != deformable_groups * taps * 2:
        raise ValueError(
            f"An input of {x.shape[1]} channels with groups={groups} and deformable_groups="
            f"{deformable_groups} needs a weight of {x.shape[1] / groups:g} input channels and "
            f"{deformable_groups * taps * 2} offsets; found {weight.shape[1]} and "
            f"{offset.shape[1]}."
        )


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])

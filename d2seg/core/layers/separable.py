"""A convolution of each channel for itself, then one across channels (arXiv:1610.02357)."""

from typing import Any

from torch import Tensor, nn

from d2seg.core.layers.batch_norm import get_norm
from d2seg.core.layers.wrappers import Conv2d


class DepthwiseSeparableConv2d(nn.Module):
    """A depthwise and a 1x1 convolution.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Of the depthwise convolution.
        padding: Likewise.
        dilation: Likewise.
        norm1: After the depthwise convolution, as of `d2seg.core.layers.get_norm`.
        activation1: Likewise.
        norm2: After the 1x1 convolution.
        activation2: Likewise.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        padding: int = 1,
        dilation: int = 1,
        *,
        norm1: Any = None,
        activation1: Any = None,
        norm2: Any = None,
        activation2: Any = None,
    ) -> None:
        super().__init__()
        self.depthwise = Conv2d(
            in_channels,
            in_channels,
            kernel_size,
            padding=padding,
            dilation=dilation,
            groups=in_channels,
            bias=not norm1,
            norm=get_norm(norm1, in_channels),
            activation=activation1,
        )
        self.pointwise = Conv2d(
            in_channels,
            out_channels,
            1,
            bias=not norm2,
            norm=get_norm(norm2, out_channels),
            activation=activation2,
        )
        for conv in (self.depthwise, self.pointwise):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H', W')."""
        return self.pointwise(self.depthwise(x))

"""The base of residual blocks."""

from torch import nn

from d2seg.core.layers.batch_norm import FrozenBatchNorm2d


class CNNBlockBase(nn.Module):
    """A block with one input and one output feature map.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Input cells for each output cell.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride

    def freeze(self) -> "CNNBlockBase":
        """Fix all parameters and turn batch norms into frozen ones, in place."""
        for parameter in self.parameters():
            parameter.requires_grad = False
        FrozenBatchNorm2d.convert_frozen_batchnorm(self)
        return self

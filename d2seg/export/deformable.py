"""The deformable convolution of a residual block."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from d2seg.core.ops.deformable import deformable_convolution
from d2seg.export.layers import norm_as_layer, plain_convolution
from d2seg.export.weights import FullWeight


class Deformable(nn.Module):
    """A convolution that is told where to look by another one, with its norm.

    Args:
        block: detectron2's ``DeformBottleneckBlock``.
    """

    bias: Tensor

    def __init__(self, block: Any) -> None:
        super().__init__()
        conv = block.conv2
        kernel, bias = conv.weight, torch.zeros(conv.weight.shape[0])
        if hasattr(conv.norm, "running_mean"):
            norm = conv.norm
            kernel, bias = fuse_conv_bn_weights(
                kernel, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
        self.kernel = FullWeight(kernel)
        self.register_buffer("bias", bias.detach().clone()[:, None, None])
        self.offsets = plain_convolution(block.conv2_offset)
        self.norm = norm_as_layer(conv.norm)
        self.modulated: bool = block.deform_modulated
        self.stride, self.padding, self.dilation = map(
            _number, (conv.stride, conv.padding, conv.dilation)
        )
        self.groups: int = conv.groups

    def forward(self, x: Tensor) -> Tensor:
        """Map (1, C_in, H, W) to (1, C_out, H / stride, W / stride)."""
        offsets = self.offsets(x)
        weights: Tensor | None = None
        if self.modulated:
            # Two thirds are coordinates, the last third says how much a sample counts.
            split = offsets.shape[1] // 3 * 2
            weights = offsets[:, split:].sigmoid()
            offsets = offsets[:, :split]
        convolved = deformable_convolution(
            x,
            offsets,
            weights,
            self.kernel(x),
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )
        return self.norm(convolved + self.bias)


def _number(value: Any) -> int:
    """Take the one number of ``(n, n)``: the geometry of these blocks is square."""
    return int(value[0] if isinstance(value, tuple) else value)

"""The blocks of plain vision transformers (ViTDet, arXiv:2203.16527). Maps are (B, H, W, C)."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from d2seg.core.layers import CNNBlockBase, Conv2d, Linear, get_norm
from d2seg.core.modeling.backbone.utils import (
    Mlp,
    decomposed_rel_pos,
    window_partition,
    window_unpartition,
)


class Attention(nn.Module):
    """Attention of every cell of a map to all others, optionally by their relative positions.

    Args:
        dim: Channels.
        num_heads: Into how many parts the channels are split.
        qkv_bias: Whether queries, keys and values have a bias.
        use_rel_pos: Learn embeddings of relative positions.
        rel_pos_zero_init: Begin with zeros for them.
        input_size: Height and width of the map that they are for; others are interpolated.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        qkv_bias: bool = True,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)
        self.use_rel_pos = use_rel_pos
        if use_rel_pos:
            if input_size is None:
                raise ValueError("Attention with use_rel_pos needs input_size, height and width.")
            lengths = [2 * side - 1 for side in input_size]
            self.rel_pos_h, self.rel_pos_w = (
                nn.Parameter(torch.zeros(length, dim // num_heads)) for length in lengths
            )
            if not rel_pos_zero_init:
                nn.init.trunc_normal_(self.rel_pos_h, std=0.02)
                nn.init.trunc_normal_(self.rel_pos_w, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, dim) to the same shape."""
        size_hw = (x.shape[1], x.shape[2])
        heads = self.qkv(x).flatten(1, 2).unflatten(2, (3, self.num_heads, -1))  # [B,HW,3,N,C]
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # [B,N,HW,C] each
        bias = None
        if self.use_rel_pos:
            bias = decomposed_rel_pos(
                q.flatten(0, 1), self.rel_pos_h, self.rel_pos_w, size_hw, size_hw
            ).unflatten(0, q.shape[:2])
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(out.transpose(1, 2).flatten(2)).unflatten(1, size_hw)


class ResBottleneckBlock(CNNBlockBase):
    """Convolutions 1x1, 3x3, 1x1 beside a shortcut, as which it begins.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, as many.
        bottleneck_channels: Channels of the 3x3 convolution.
        norm: As of `d2seg.core.layers.get_norm`.
        act_layer: Builds the activations.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bottleneck_channels: int,
        norm: Any = "LN",
        act_layer: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__(in_channels, out_channels, 1)
        inner = bottleneck_channels
        self.conv1 = Conv2d(in_channels, inner, 1, bias=False)
        self.norm1 = get_norm(norm, inner) or nn.Identity()
        self.act1 = act_layer()
        self.conv2 = Conv2d(inner, inner, 3, padding=1, bias=False)
        self.norm2 = get_norm(norm, inner) or nn.Identity()
        self.act2 = act_layer()
        self.conv3 = Conv2d(inner, out_channels, 1, bias=False)
        self.norm3 = get_norm(norm, out_channels) or nn.Identity()
        for conv in (self.conv1, self.conv2, self.conv3):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        for parameter in self.norm3.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W)."""
        inner = self.act1(self.norm1(self.conv1(x)))
        inner = self.act2(self.norm2(self.conv2(inner)))
        return x + self.norm3(self.conv3(inner))


class Block(nn.Module):
    """Attention and two linear layers, each after a norm and beside a shortcut.

    Args:
        dim: Channels.
        num_heads: As of `Attention`.
        mlp_ratio: Channels between the linear layers for each of ``dim``.
        qkv_bias: As of `Attention`.
        drop_path: Share of images for which a branch is left out in training.
        norm_layer: Builds the norms.
        act_layer: Builds the activations.
        use_rel_pos: As of `Attention`.
        rel_pos_zero_init: Likewise.
        window_size: Attention within windows of this side; 0 for the whole map.
        use_residual_block: Add a `ResBottleneckBlock` at the end.
        input_size: Height and width of the map.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        window_size: int = 0,
        use_residual_block: bool = False,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm1 = norm_layer(dim)
        self.attn = Attention(
            dim,
            num_heads,
            qkv_bias,
            use_rel_pos,
            rel_pos_zero_init,
            (window_size, window_size) if window_size else input_size,
        )
        self.drop_path = StochasticDepth(drop_path, "row")
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer)
        self.use_residual_block = use_residual_block
        if use_residual_block:
            self.residual = ResBottleneckBlock(dim, dim, dim // 2, "LN", act_layer)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, dim) to the same shape."""
        x = x + self.drop_path(self._attend(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        if self.use_residual_block:
            x = self.residual(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x

    def _attend(self, x: Tensor) -> Tensor:
        if not self.window_size:
            return self.attn(x)
        windows, padded_hw = window_partition(x, self.window_size)
        size_hw = (x.shape[1], x.shape[2])
        return window_unpartition(self.attn(windows), self.window_size, padded_hw, size_hw)

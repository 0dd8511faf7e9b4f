"""Attention that pools, as in multiscale vision transformers (MViTv2, arXiv:2112.01526).

Maps are (B, H, W, C).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from d2seg.core.layers import Linear
from d2seg.core.modeling.backbone.utils import (
    Mlp,
    decomposed_rel_pos,
    window_partition,
    window_unpartition,
)

NormLayer = Callable[[int], nn.Module]


def attention_pool(x: Tensor, pool: nn.Module, norm: nn.Module | None = None) -> Tensor:
    """Apply a layer for (B, C, H, W) to a map (B, H, W, C), and then a norm, if there is one."""
    x = pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return x if norm is None else norm(x)


class MultiScaleAttention(nn.Module):
    """Attention whose queries, keys and values are pooled by convolutions of each head (figure 2).

    Args:
        dim: Channels of the input.
        dim_out: Channels of the output.
        num_heads: Into how many parts the channels are split.
        qkv_bias: Whether queries, keys and values have a bias.
        norm_layer: Builds the norms after pooling.
        pool_kernel: Height and width of the pooling convolutions.
        stride_q: Of the pooling of queries, and so of the output.
        stride_kv: Of the pooling of keys and values.
        residual_pooling: Add the pooled queries to the result (equation 5).
        window_size: Attention within windows of this side, in cells of the input; 0 for all.
        use_rel_pos: Learn embeddings of relative positions.
        rel_pos_zero_init: Begin with zeros for them.
        input_size: Height and width of the input that they are for; others are interpolated.
    """

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        qkv_bias: bool = True,
        norm_layer: NormLayer = nn.LayerNorm,
        pool_kernel: tuple[int, int] = (3, 3),
        stride_q: int = 1,
        stride_kv: int = 1,
        residual_pooling: bool = True,
        window_size: int = 0,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.residual_pooling = residual_pooling
        self.window_q, self.window_kv = window_size // stride_q, window_size // stride_kv
        self.qkv = Linear(dim, 3 * dim_out, bias=qkv_bias)
        self.proj = Linear(dim_out, dim_out)
        head = dim_out // num_heads
        for name, stride in (("q", stride_q), ("k", stride_kv), ("v", stride_kv)):
            padding = (pool_kernel[0] // 2, pool_kernel[1] // 2)
            pool = nn.Conv2d(head, head, pool_kernel, stride, padding, groups=head, bias=False)
            self.add_module(f"pool_{name}", pool)
            self.add_module(f"norm_{name}", norm_layer(head))
        self.use_rel_pos = use_rel_pos
        if use_rel_pos:
            if input_size is None:
                raise ValueError("Attention with use_rel_pos needs input_size, height and width.")
            sides = [max(side // stride_q, side // stride_kv) for side in input_size]
            self.rel_pos_h, self.rel_pos_w = (
                nn.Parameter(torch.zeros(2 * side - 1, head)) for side in sides
            )
            if not rel_pos_zero_init:
                nn.init.trunc_normal_(self.rel_pos_h, std=0.02)
                nn.init.trunc_normal_(self.rel_pos_w, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, dim) to (B, H / stride_q, W / stride_q, dim_out)."""
        heads = self.qkv(x).unflatten(3, (3, self.num_heads, -1))  # [B,H,W,3,heads,C]
        heads = heads.permute(3, 0, 4, 1, 2, 5).flatten(1, 2)  # [3,B*heads,H,W,C]
        pooled = [
            attention_pool(values, getattr(self, f"pool_{name}"), getattr(self, f"norm_{name}"))
            for name, values in zip("qkv", heads, strict=True)
        ]
        out = self._attend(*pooled)
        if self.residual_pooling:
            out = out + pooled[0]
        together = out.unflatten(0, (len(x), self.num_heads)).permute(0, 2, 3, 1, 4)
        return self.proj(together.flatten(3))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Let queries (N, h, w, C) attend to keys of their window, or to all: (N, h, w, C)."""
        size_hw, padded_hw = (q.shape[1], q.shape[2]), (0, 0)
        if self.window_q:
            q, padded_hw = window_partition(q, self.window_q)
            k, v = (window_partition(part, self.window_kv)[0] for part in (k, v))
        q_hw, k_hw = (q.shape[1], q.shape[2]), (k.shape[1], k.shape[2])
        q, k, v = (part.flatten(1, 2) for part in (q, k, v))
        bias = None
        if self.use_rel_pos:
            bias = decomposed_rel_pos(q, self.rel_pos_h, self.rel_pos_w, q_hw, k_hw)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).unflatten(1, q_hw)
        if not self.window_q:
            return out
        return window_unpartition(out, self.window_q, padded_hw, size_hw)


class MultiScaleBlock(nn.Module):
    """Pooling attention and two linear layers, each after a norm and beside a shortcut.

    Args:
        dim: Channels of the input.
        dim_out: Channels of the output.
        num_heads: As of `MultiScaleAttention`.
        mlp_ratio: Channels between the linear layers for each of ``dim_out``.
        qkv_bias: As of `MultiScaleAttention`.
        drop_path: Share of images for which a branch is left out in training.
        norm_layer: Builds the norms.
        act_layer: Builds the activation.
        qkv_pool_kernel: Height and width of the pooling convolutions.
        stride_q: As of `MultiScaleAttention`.
        stride_kv: Likewise.
        residual_pooling: Likewise.
        window_size: Likewise.
        use_rel_pos: Likewise.
        rel_pos_zero_init: Likewise.
        input_size: Likewise.
    """

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        norm_layer: NormLayer = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        qkv_pool_kernel: tuple[int, int] = (3, 3),
        stride_q: int = 1,
        stride_kv: int = 1,
        residual_pooling: bool = True,
        window_size: int = 0,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = MultiScaleAttention(
            dim,
            dim_out,
            num_heads,
            qkv_bias,
            norm_layer,
            qkv_pool_kernel,
            stride_q,
            stride_kv,
            residual_pooling,
            window_size,
            use_rel_pos,
            rel_pos_zero_init,
            input_size,
        )
        self.drop_path = StochasticDepth(drop_path, "row")
        self.norm2 = norm_layer(dim_out)
        self.mlp = Mlp(dim_out, int(dim_out * mlp_ratio), act_layer)
        self.proj = Linear(dim, dim_out) if dim != dim_out else None
        kernel = stride_q + 1
        self.pool_skip = (
            nn.MaxPool2d(kernel, stride_q, padding=kernel // 2) if stride_q > 1 else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, dim) to (B, H / stride_q, W / stride_q, dim_out)."""
        normed = self.norm1(x)
        # Where the channels change, the shortcut begins after the norm.
        shortcut = x if self.proj is None else self.proj(normed)
        if self.pool_skip is not None:
            shortcut = attention_pool(shortcut, self.pool_skip)
        x = shortcut + self.drop_path(self.attn(normed))
        return x + self.drop_path(self.mlp(self.norm2(x)))

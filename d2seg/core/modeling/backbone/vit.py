"""Plain vision transformers for detection (ViTDet, arXiv:2203.16527). Maps are (B, H, W, C)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

from d2seg.core.layers import CNNBlockBase, Conv2d, get_norm
from d2seg.core.modeling.backbone.backbone import Backbone
from d2seg.core.modeling.backbone.simple_feature_pyramid import SimpleFeaturePyramid
from d2seg.core.modeling.backbone.utils import (
    Mlp,
    PatchEmbed,
    decomposed_rel_pos,
    drop_path_rates,
    get_abs_pos,
    init_transformer,
    window_partition,
    window_unpartition,
)

__all__ = [
    "Attention",
    "Block",
    "Mlp",
    "ResBottleneckBlock",
    "SimpleFeaturePyramid",
    "ViT",
    "get_vit_lr_decay_rate",
]


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
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
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


class ViT(Backbone):
    """A plain vision transformer with one output, some of whose blocks attend within windows.

    Args:
        img_size: Side in pixels of the images that relative positions are made for.
        patch_size: Side in pixels of a patch.
        in_chans: Channels of the image.
        embed_dim: Channels of all blocks.
        depth: Number of blocks.
        num_heads: As of `Attention`.
        mlp_ratio: As of `Block`.
        qkv_bias: As of `Attention`.
        drop_path_rate: Of the last block; it grows from 0 in the first.
        norm_layer: Builds the norms.
        act_layer: Builds the activations.
        use_abs_pos: Add learnt positions to the patches.
        use_rel_pos: As of `Attention`.
        rel_pos_zero_init: Likewise.
        window_size: Side of the windows.
        window_block_indexes: Blocks that attend within windows; the others attend to all.
        residual_block_indexes: Blocks with a convolutional block at their end.
        use_act_checkpoint: Compute activations again for the backward pass instead of keeping them.
        pretrain_img_size: Side in pixels of the images that absolute positions were learnt on.
        pretrain_use_cls_token: Whether they begin with that of a class token.
        out_feature: Name of the output.
    """

    def __init__(
        self,
        img_size: int = 1024,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        use_abs_pos: bool = True,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        window_size: int = 0,
        window_block_indexes: Sequence[int] = (),
        residual_block_indexes: Sequence[int] = (),
        use_act_checkpoint: bool = False,
        pretrain_img_size: int = 224,
        pretrain_use_cls_token: bool = True,
        out_feature: str = "last_feat",
    ) -> None:
        super().__init__()
        self.pretrain_use_cls_token = pretrain_use_cls_token
        self.use_act_checkpoint = use_act_checkpoint
        patch = (patch_size, patch_size)
        self.patch_embed = PatchEmbed(patch, patch, in_chans=in_chans, embed_dim=embed_dim)
        self.pos_embed: nn.Parameter | None = None
        if use_abs_pos:
            count = (pretrain_img_size // patch_size) ** 2 + int(pretrain_use_cls_token)
            self.pos_embed = nn.Parameter(torch.zeros(1, count, embed_dim))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        rates = drop_path_rates(drop_path_rate, depth)
        side = img_size // patch_size
        self.blocks = nn.ModuleList(
            Block(
                embed_dim,
                num_heads,
                mlp_ratio,
                qkv_bias,
                rates[index],
                norm_layer,
                act_layer,
                use_rel_pos,
                rel_pos_zero_init,
                window_size if index in window_block_indexes else 0,
                index in residual_block_indexes,
                (side, side),
            )
            for index in range(depth)
        )
        self._out_features = [out_feature]
        self._out_feature_channels = {out_feature: embed_dim}
        self._out_feature_strides = {out_feature: patch_size}
        self.apply(init_transformer)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, H, W) to the output (B, embed_dim, H / patch_size, W / patch_size)."""
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            size_hw = (x.shape[1], x.shape[2])
            x = x + get_abs_pos(self.pos_embed, self.pretrain_use_cls_token, size_hw)
        for block in self.blocks:
            if self.use_act_checkpoint and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return {self._out_features[0]: x.permute(0, 3, 1, 2)}


def get_vit_lr_decay_rate(name: str, lr_decay_rate: float = 1.0, num_layers: int = 12) -> float:
    """Return the factor of the learning rate of a parameter: the nearer the image, the smaller.

    Args:
        name: Of a parameter of a model whose ``backbone`` holds a `ViT`.
        lr_decay_rate: Factor from each block to the one before.
        num_layers: Number of blocks.

    Returns:
        The rate to the power of how many layers come after; 1 outside the transformer.
    """
    layer = num_layers + 1
    if name.startswith("backbone"):
        _, in_block, rest = name.partition(".blocks.")
        if ".pos_embed" in name or ".patch_embed" in name:
            layer = 0
        elif in_block and ".residual." not in name:
            layer = int(rest.split(".")[0]) + 1
    return lr_decay_rate ** (num_layers + 1 - layer)

"""Swin transformers, whose attention is within shifted windows (arXiv:2103.14030)."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.modeling.backbone.backbone import Backbone
from d2seg.core.modeling.backbone.swin_blocks import (
    BasicLayer,
    NormLayer,
    PatchMerging,
    SwinTransformerBlock,
    WindowAttention,
)
from d2seg.core.modeling.backbone.utils import drop_path_rates, init_transformer

__all__ = [
    "BasicLayer",
    "PatchEmbed",
    "PatchMerging",
    "SwinTransformer",
    "SwinTransformerBlock",
    "WindowAttention",
]


class PatchEmbed(nn.Module):
    """Embeds the patches of an image, padded to whole ones.

    Args:
        patch_size: Side in pixels of a patch.
        in_chans: Channels of the image.
        embed_dim: Channels of the output.
        norm_layer: Builds a norm of the output; None for none.
    """

    def __init__(
        self,
        patch_size: int = 4,
        in_chans: int = 3,
        embed_dim: int = 96,
        norm_layer: NormLayer | None = None,
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, stride=patch_size)
        self.norm = None if norm_layer is None else norm_layer(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_chans, H, W) to (B, H / patch_size, W / patch_size, embed_dim)."""
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.patch_size, 0, -height % self.patch_size))
        x = self.proj(x).permute(0, 2, 3, 1)
        return x if self.norm is None else self.norm(x)


class SwinTransformer(Backbone):
    """Four stages, or as many as ``depths`` has; their outputs are named ``p0``, ``p1``, ...

    Args:
        pretrain_img_size: Side in pixels of the images that ``ape`` was learnt on.
        patch_size: Side in pixels of a patch.
        in_chans: Channels of the image.
        embed_dim: Channels of the first stage; they double from stage to stage.
        depths: Blocks of each stage.
        num_heads: Heads of each stage.
        window_size: Side of the windows in cells.
        mlp_ratio: As of `SwinTransformerBlock`.
        qkv_bias: Likewise.
        qk_scale: Likewise.
        drop_rate: Share of values that are dropped in training.
        attn_drop_rate: Share of attention that is dropped in training.
        drop_path_rate: Of the last block; it grows from 0 in the first.
        norm_layer: Builds the norms.
        ape: Add learnt absolute positions to the patches.
        patch_norm: Normalise the patches.
        out_indices: Stages to return, from 0.
        frozen_stages: Freeze the patches (0), positions too (1), the first stage too (2), and so
            on; -1 for nothing.
        use_checkpoint: Compute activations again for the backward pass instead of keeping them.
    """

    def __init__(
        self,
        pretrain_img_size: int = 224,
        patch_size: int = 4,
        in_chans: int = 3,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.2,
        norm_layer: NormLayer = nn.LayerNorm,
        ape: bool = False,
        patch_norm: bool = True,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.num_layers = len(depths)
        self.out_indices = out_indices
        self.frozen_stages = frozen_stages
        self.patch_embed = PatchEmbed(
            patch_size, in_chans, embed_dim, norm_layer if patch_norm else None
        )
        self.absolute_pos_embed: nn.Parameter | None = None
        if ape:
            side = pretrain_img_size // patch_size
            positions = torch.empty(1, embed_dim, side, side)
            self.absolute_pos_embed = nn.Parameter(nn.init.trunc_normal_(positions, std=0.02))
        self.pos_drop = nn.Dropout(drop_rate)
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        block = partial(
            SwinTransformerBlock,
            window_size=window_size,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            qk_scale=qk_scale,
            drop=drop_rate,
            attn_drop=attn_drop_rate,
            norm_layer=norm_layer,
        )
        self.layers = nn.ModuleList()
        for stage, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            dim = embed_dim * 2**stage
            # Every second block has its windows shifted by half of one.
            shifts = [window_size // 2 if index % 2 else 0 for index in range(depth)]
            blocks = [block(dim, heads, shift_size=s, drop_path=next(rates)) for s in shifts]
            last = stage == len(depths) - 1
            merging = None if last else PatchMerging(dim, norm_layer)
            self.layers.append(BasicLayer(blocks, merging, use_checkpoint))
        self.num_features = [embed_dim * 2**stage for stage in range(len(depths))]
        for stage in out_indices:
            self.add_module(f"norm{stage}", norm_layer(self.num_features[stage]))
        self._out_features = [f"p{stage}" for stage in out_indices]
        self._out_feature_channels = {f"p{s}": self.num_features[s] for s in out_indices}
        self._out_feature_strides = {f"p{s}": patch_size * 2**s for s in out_indices}
        self.apply(init_transformer)
        self._freeze()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, H, W) to name -> (B, C, H / stride, W / stride), rounded up."""
        x = self.patch_embed(x)
        if self.absolute_pos_embed is not None:
            positions = F.interpolate(self.absolute_pos_embed, x.shape[1:3], mode="bicubic")
            x = x + positions.permute(0, 2, 3, 1)
        x = self.pos_drop(x)
        outputs: dict[str, Tensor] = {}
        for stage, layer in enumerate(self.layers):
            result, x = layer(x)
            if stage in self.out_indices:
                normed = getattr(self, f"norm{stage}")(result)
                outputs[f"p{stage}"] = normed.permute(0, 3, 1, 2)
        return outputs

    def train(self, mode: bool = True) -> "SwinTransformer":
        """Switch to training or evaluation; frozen parts stay in evaluation."""
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        frozen: list[nn.Module] = [self.patch_embed] if self.frozen_stages >= 0 else []
        if self.frozen_stages >= 1 and self.absolute_pos_embed is not None:
            self.absolute_pos_embed.requires_grad = False
        if self.frozen_stages >= 2:
            frozen += [self.pos_drop, *self.layers[: self.frozen_stages - 1]]
        for part in frozen:
            part.eval().requires_grad_(False)

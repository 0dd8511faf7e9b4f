"""Plain vision transformers for detection (ViTDet, arXiv:2203.16527)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from d2seg.core.modeling.backbone.backbone import Backbone
from d2seg.core.modeling.backbone.simple_feature_pyramid import SimpleFeaturePyramid
from d2seg.core.modeling.backbone.utils import (
    Mlp,
    PatchEmbed,
    drop_path_rates,
    get_abs_pos,
    init_transformer,
)
from d2seg.core.modeling.backbone.vit_blocks import Attention, Block, ResBottleneckBlock

__all__ = [
    "Attention",
    "Block",
    "Mlp",
    "ResBottleneckBlock",
    "SimpleFeaturePyramid",
    "ViT",
    "get_vit_lr_decay_rate",
]


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

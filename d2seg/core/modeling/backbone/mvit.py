"""Multiscale vision transformers (MViTv2, arXiv:2112.01526)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from d2seg.core.modeling.backbone.backbone import Backbone
from d2seg.core.modeling.backbone.mvit_blocks import (
    MultiScaleAttention,
    MultiScaleBlock,
    NormLayer,
    attention_pool,
)
from d2seg.core.modeling.backbone.utils import (
    PatchEmbed,
    drop_path_rates,
    get_abs_pos,
    init_transformer,
)

__all__ = ["MViT", "MultiScaleAttention", "MultiScaleBlock", "attention_pool"]


class MViT(Backbone):
    """Four stages named ``scale2`` to ``scale5``, each of half the size and twice the channels.

    The first block of a stage halves the map. Blocks attend within windows, except for the last
    of every stage but the first (section 4.1, hybrid window attention).

    Args:
        img_size: Side in pixels of the images that relative positions are made for.
        patch_kernel: Height and width in pixels of a patch.
        patch_stride: From patch to patch.
        patch_padding: Around the image.
        in_chans: Channels of the image.
        embed_dim: Channels of the first stage.
        depth: Blocks of all stages together.
        num_heads: Heads of the first stage; they double from stage to stage.
        last_block_indexes: The last block of each stage.
        qkv_pool_kernel: As of `MultiScaleBlock`.
        adaptive_kv_stride: Stride of keys and values in the first stage; it halves from stage to
            stage, and is doubled in the last blocks of the second and third.
        adaptive_window_size: Side of the windows in the first stage; it halves from stage to stage.
        residual_pooling: As of `MultiScaleBlock`.
        mlp_ratio: Likewise.
        qkv_bias: Likewise.
        drop_path_rate: Of the last block; it grows from 0 in the first.
        norm_layer: Builds the norms.
        act_layer: Builds the activations.
        use_abs_pos: Add learnt positions to the patches.
        use_rel_pos: As of `MultiScaleBlock`.
        rel_pos_zero_init: Likewise.
        use_act_checkpoint: Compute activations again for the backward pass instead of keeping them.
        pretrain_img_size: Side in pixels of the images that absolute positions were learnt on.
        pretrain_use_cls_token: Whether they begin with that of a class token.
        out_features: Names of the stages to return.
    """

    def __init__(
        self,
        img_size: int = 224,
        patch_kernel: tuple[int, int] = (7, 7),
        patch_stride: tuple[int, int] = (4, 4),
        patch_padding: tuple[int, int] = (3, 3),
        in_chans: int = 3,
        embed_dim: int = 96,
        depth: int = 16,
        num_heads: int = 1,
        last_block_indexes: Sequence[int] = (0, 2, 11, 15),
        qkv_pool_kernel: tuple[int, int] = (3, 3),
        adaptive_kv_stride: int = 4,
        adaptive_window_size: int = 56,
        residual_pooling: bool = True,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        norm_layer: NormLayer = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        use_abs_pos: bool = False,
        use_rel_pos: bool = True,
        rel_pos_zero_init: bool = True,
        use_act_checkpoint: bool = False,
        pretrain_img_size: int = 224,
        pretrain_use_cls_token: bool = True,
        out_features: Sequence[str] = ("scale2", "scale3", "scale4", "scale5"),
    ) -> None:
        super().__init__()
        _check(depth, last_block_indexes, out_features)
        self.pretrain_use_cls_token = pretrain_use_cls_token
        self.use_act_checkpoint = use_act_checkpoint
        self.patch_embed = PatchEmbed(
            patch_kernel, patch_stride, patch_padding, in_chans, embed_dim
        )
        self.pos_embed: nn.Parameter | None = None
        if use_abs_pos:
            cells = (pretrain_img_size // patch_stride[0]) * (pretrain_img_size // patch_stride[1])
            positions = torch.zeros(1, cells + int(pretrain_use_cls_token), embed_dim)
            self.pos_embed = nn.Parameter(nn.init.trunc_normal_(positions, std=0.02))
        self._outputs = {f"scale{n}": last for n, last in enumerate(last_block_indexes, start=2)}
        self._out_features = list(out_features)
        self._out_feature_strides, self._out_feature_channels = {}, {}
        block = partial(
            MultiScaleBlock,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            norm_layer=norm_layer,
            act_layer=act_layer,
            qkv_pool_kernel=qkv_pool_kernel,
            residual_pooling=residual_pooling,
            use_rel_pos=use_rel_pos,
            rel_pos_zero_init=rel_pos_zero_init,
        )
        rows, columns = img_size // patch_stride[0], img_size // patch_stride[1]
        plans = _plan(last_block_indexes, adaptive_kv_stride, adaptive_window_size)
        self.blocks = nn.ModuleList(
            block(
                embed_dim * plan.into,
                embed_dim * plan.out_of,
                num_heads * plan.out_of,
                drop_path=rate,
                stride_q=plan.stride_q,
                stride_kv=plan.stride_kv,
                window_size=plan.window_size,
                input_size=(rows // plan.into, columns // plan.into),
            )
            for plan, rate in zip(plans, drop_path_rates(drop_path_rate, depth), strict=True)
        )
        for stage, name in enumerate(self._outputs):
            if name in self._out_features:
                self.add_module(f"{name}_norm", norm_layer(embed_dim * 2**stage))
                self._out_feature_channels[name] = embed_dim * 2**stage
                self._out_feature_strides[name] = patch_stride[0] * 2**stage
        self.apply(init_transformer)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, H, W) to name -> (B, C, H / stride, W / stride)."""
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            size_hw = (x.shape[1], x.shape[2])
            x = x + get_abs_pos(self.pos_embed, self.pretrain_use_cls_token, size_hw)
        names = {last: name for name, last in self._outputs.items() if name in self._out_features}
        outputs: dict[str, Tensor] = {}
        for index, block in enumerate(self.blocks):
            if self.use_act_checkpoint and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
            if index in names:
                normed = getattr(self, f"{names[index]}_norm")(x)
                outputs[names[index]] = normed.permute(0, 3, 1, 2)
        return outputs


class _BlockPlan(NamedTuple):
    """What a block is built with.

    ``into`` and ``out_of`` are its channels as multiples of the first; its input is ``into`` times
    smaller than that of the first. ``window_size`` is in cells of the input; 0 for none.
    """

    into: int
    out_of: int
    stride_q: int
    stride_kv: int
    window_size: int


def _plan(last_block_indexes: Sequence[int], kv_stride: int, window_size: int) -> list[_BlockPlan]:
    blocks = []
    begin = 0
    for stage, last in enumerate(last_block_indexes):
        out_of = 2**stage
        for index in range(begin, last + 1):
            halves = stage > 0 and index == begin
            # A block that halves the map still gets, and cuts into windows, the larger one.
            into = out_of // 2 if halves else out_of
            ends = stage > 0 and index == last
            stride_kv = max(kv_stride // out_of, 1) * (2 if ends and stage < 3 else 1)
            window = 0 if ends else window_size // into
            blocks.append(_BlockPlan(into, out_of, out_of // into, stride_kv, window))
        begin = last + 1
    return blocks


def _check(depth: int, last_block_indexes: Sequence[int], out_features: Sequence[str]) -> None:
    if len(last_block_indexes) != 4 or last_block_indexes[-1] != depth - 1:
        raise ValueError(
            "last_block_indexes needs the last block of each of four stages, and ends with "
            f"depth - 1; found {tuple(last_block_indexes)} for a depth of {depth}."
        )
    unknown = [name for name in out_features if name not in {f"scale{n}" for n in range(2, 6)}]
    if unknown:
        raise ValueError(f"out_features may name scale2 to scale5; found '{unknown[0]}'.")

"""The layers of Swin transformers (arXiv:2103.14030). Maps are (B, H, W, C)."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

from d2seg.core.layers import Linear
from d2seg.core.modeling.backbone.utils import Mlp, window_partition, window_unpartition

NormLayer = Callable[[int], nn.Module]


class WindowAttention(nn.Module):
    """Attention within windows, with a learnt bias for each relative position (equation 4).

    Args:
        dim: Channels.
        window_size: Side of a window, S.
        num_heads: Into how many parts the channels are split.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_scale: Factor of the products; None for one over the root of a head's channels.
        attn_drop: Share of attention that is dropped in training.
        proj_drop: Share of values that are dropped in training.
    """

    relative_position_index: Tensor

    def __init__(
        self,
        dim: int,
        window_size: int,
        num_heads: int,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = qk_scale
        self.attn_drop = attn_drop
        table = torch.empty((2 * window_size - 1) ** 2, num_heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        self.register_buffer("relative_position_index", relative_position_index(window_size))
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Let cells attend to each other.

        Args:
            x: (B * N, S * S, dim), N windows of each image.
            mask: (N, S * S, S * S) float, added to the attention: -inf for cells that do not see
                each other.
        """
        heads = self.qkv(x).unflatten(2, (3, self.num_heads, -1))  # [BN,SS,3,heads,C]
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index]  # [SS,SS,heads]
        bias = bias.permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(len(x) // len(mask), 1, 1, 1)
        dropped = self.attn_drop if self.training else 0.0
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, dropout_p=dropped, scale=self.scale
        )
        return self.proj_drop(self.proj(out.transpose(1, 2).flatten(2)))


class SwinTransformerBlock(nn.Module):
    """Attention within windows, which may be shifted, and two linear layers (figure 3b).

    Args:
        dim: Channels.
        num_heads: As of `WindowAttention`.
        window_size: Likewise.
        shift_size: By how many cells the windows are shifted up and left.
        mlp_ratio: Channels between the linear layers for each of ``dim``.
        qkv_bias: As of `WindowAttention`.
        qk_scale: Likewise.
        drop: Share of values that are dropped in training.
        attn_drop: As of `WindowAttention`.
        drop_path: Share of images for which a branch is left out in training.
        act_layer: Builds the activation.
        norm_layer: Builds the norms.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int = 7,
        shift_size: int = 0,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        norm_layer: NormLayer = nn.LayerNorm,
    ) -> None:
        super().__init__()
        if not 0 <= shift_size < window_size:
            raise ValueError(f"shift_size must be in [0, {window_size}), but is {shift_size}.")
        self.window_size = window_size
        self.shift_size = shift_size
        self.norm1 = norm_layer(dim)
        self.attn = WindowAttention(
            dim, window_size, num_heads, qkv_bias, qk_scale, attn_drop, drop
        )
        self.drop_path = StochasticDepth(drop_path, "row")
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer, drop)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, dim) to the same shape."""
        x = x + self.drop_path(self._attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        size, shift = self.window_size, self.shift_size
        # Padded first, so that what is moved around the border is padding as well.
        x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
        padded_hw = (x.shape[1], x.shape[2])
        mask = None
        if shift:
            x = x.roll((-shift, -shift), dims=(1, 2))
            mask = shift_mask(padded_hw, size, shift).to(x)
        windows, _ = window_partition(x, size)
        windows = self.attn(windows.flatten(1, 2), mask).unflatten(1, (size, size))
        x = window_unpartition(windows, size, padded_hw, padded_hw)
        return x.roll((shift, shift), dims=(1, 2))[:, :height, :width]


class PatchMerging(nn.Module):
    """Halves a map: four cells become one of twice the channels.

    Args:
        dim: Channels of the input.
        norm_layer: Builds the norm.
    """

    def __init__(self, dim: int, norm_layer: NormLayer = nn.LayerNorm) -> None:
        super().__init__()
        self.reduction = Linear(4 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, dim) to (B, ceil(H / 2), ceil(W / 2), 2 dim)."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        # Upper left, lower left, upper right, lower right.
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, dim=3)))


class BasicLayer(nn.Module):
    """One stage: blocks whose windows are shifted every second time, then perhaps a merging.

    Args:
        blocks: The blocks.
        downsample: Applied after them; None in the last stage.
        use_checkpoint: Compute activations again for the backward pass instead of keeping them.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], downsample: nn.Module | None, use_checkpoint: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
        self.use_checkpoint = use_checkpoint

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, H, W, dim) to what the blocks give, and that for the next stage."""
        for block in self.blocks:
            if self.use_checkpoint and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x, x if self.downsample is None else self.downsample(x)


def relative_position_index(window_size: int) -> Tensor:
    """Number the relative positions of the cells of a window: (S * S, S * S) int64.

    Entry (a, b) is ``(dy + S - 1) * (2S - 1) + dx + S - 1``, where b is at a minus (dy, dx).
    """
    row, column = torch.meshgrid(*[torch.arange(window_size)] * 2, indexing="ij")
    dy, dx = ((axis.flatten()[:, None] - axis.flatten()[None]) for axis in (row, column))
    return (dy + window_size - 1) * (2 * window_size - 1) + dx + window_size - 1


def shift_mask(size_hw: tuple[int, int], window_size: int, shift: int) -> Tensor:
    """Keep cells apart that came into one window from opposite borders (section 3.2).

    Args:
        size_hw: Height and width of the map, multiples of ``window_size``.
        window_size: S.
        shift: By how many cells the map was rolled up and left.

    Returns:
        (N, S * S, S * S) float for each window: 0 for cells that see each other, else -inf.
    """
    # Along each axis: 0 before the last window, 1 in what stayed of it, 2 in what came around.
    parts = [
        torch.arange(side).ge(side - window_size).int() + torch.arange(side).ge(side - shift).int()
        for side in size_hw
    ]
    region = parts[0][:, None] * 3 + parts[1][None, :]
    windows = window_partition(region[None, :, :, None], window_size)[0].flatten(1)
    apart = windows[:, :, None] != windows[:, None, :]
    return torch.zeros(apart.shape).masked_fill(apart, -torch.inf)

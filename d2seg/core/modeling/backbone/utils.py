"""What transformers on maps share: patches, windows and positions. Maps are (B, H, W, C)."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.layers import Linear

__all__ = [
    "Mlp",
    "PatchEmbed",
    "add_decomposed_rel_pos",
    "decomposed_rel_pos",
    "drop_path_rates",
    "get_abs_pos",
    "get_rel_pos",
    "init_transformer",
    "window_partition",
    "window_unpartition",
]


class PatchEmbed(nn.Module):
    """Embeds the patches of an image by a convolution, ``proj``.

    Args:
        kernel_size: Height and width in pixels of a patch.
        stride: From patch to patch.
        padding: Around the image.
        in_chans: Channels of the image.
        embed_dim: Channels of the output.
    """

    def __init__(
        self,
        kernel_size: tuple[int, int] = (16, 16),
        stride: tuple[int, int] = (16, 16),
        padding: tuple[int, int] = (0, 0),
        in_chans: int = 3,
        embed_dim: int = 768,
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_chans, H, W) to (B, H / stride, W / stride, embed_dim)."""
        return self.proj(x).permute(0, 2, 3, 1)


class Mlp(nn.Module):
    """Two linear layers with an activation between them.

    Args:
        dim: Channels.
        hidden: Channels in between.
        act_layer: Builds the activation.
        drop: Share of values that are dropped in training, after each layer.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden)
        self.act = act_layer()
        self.fc2 = Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to the same shape."""
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


def window_partition(x: Tensor, window_size: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut maps into windows that do not overlap, after padding them with zeros below and right.

    Args:
        x: (B, H, W, C).
        window_size: Side of a window, S.

    Returns:
        Windows (B * N, S, S, C), row by row, and the padded height and width.
    """
    height, width = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -width % window_size, 0, -height % window_size))
    padded_hw = (x.shape[1], x.shape[2])
    cells = x.unflatten(2, (-1, window_size)).unflatten(1, (-1, window_size))  # [B,Nh,S,Nw,S,C]
    return cells.transpose(2, 3).flatten(0, 2), padded_hw


def window_unpartition(
    windows: Tensor, window_size: int, pad_hw: tuple[int, int], hw: tuple[int, int]
) -> Tensor:
    """Put windows together again, and cut off the padding.

    Args:
        windows: (B * N, S, S, C), see `window_partition`.
        window_size: S.
        pad_hw: Padded height and width.
        hw: Height and width without padding.

    Returns:
        (B, H, W, C).
    """
    rows, columns = pad_hw[0] // window_size, pad_hw[1] // window_size
    cells = windows.unflatten(0, (-1, rows, columns)).transpose(2, 3)  # [B,Nh,S,Nw,S,C]
    return cells.flatten(3, 4).flatten(1, 2)[:, : hw[0], : hw[1]]


def get_rel_pos(q_size: int, k_size: int, rel_pos: Tensor) -> Tensor:
    """Look up the embedding of the distance of each query to each key, along one axis.

    Args:
        q_size: Number of queries Q.
        k_size: Number of keys K. With fewer keys than queries, or the other way round, the fewer
            lie that much wider apart.
        rel_pos: (L, C), embeddings of the distances; resized where L is not 2 * max(Q, K) - 1.

    Returns:
        (Q, K, C).
    """
    length = 2 * max(q_size, k_size) - 1
    if len(rel_pos) != length:
        rel_pos = F.interpolate(rel_pos.T[None], size=length, mode="linear")[0].T
    q_step, k_step = max(k_size / q_size, 1.0), max(q_size / k_size, 1.0)
    queries = torch.arange(q_size, device=rel_pos.device)[:, None] * q_step
    keys = torch.arange(k_size, device=rel_pos.device)[None, :] * k_step
    return rel_pos[(queries - keys + (k_size - 1) * k_step).long()]


def decomposed_rel_pos(
    q: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> Tensor:
    """Compute what relative positions add to attention, per axis (arXiv:2112.01526, equation 4).

    Args:
        q: (B, Q, C), queries of a map of Q cells.
        rel_pos_h: (L, C), embeddings of vertical distances.
        rel_pos_w: (L, C), of horizontal ones.
        q_size: Height and width of the map of queries.
        k_size: Height and width of the map of K keys.

    Returns:
        (B, Q, K).
    """
    of_rows = get_rel_pos(q_size[0], k_size[0], rel_pos_h)
    of_columns = get_rel_pos(q_size[1], k_size[1], rel_pos_w)
    cells = q.unflatten(1, q_size)  # [B,h,w,C]
    vertical = torch.einsum("bhwc,hkc->bhwk", cells, of_rows)
    horizontal = torch.einsum("bhwc,wkc->bhwk", cells, of_columns)
    return (vertical[..., :, None] + horizontal[..., None, :]).flatten(3).flatten(1, 2)


def add_decomposed_rel_pos(
    attn: Tensor,
    q: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> Tensor:
    """Add `decomposed_rel_pos`, whose arguments follow, to attention (B, Q, K), out of place."""
    return attn + decomposed_rel_pos(q, rel_pos_h, rel_pos_w, q_size, k_size)


def get_abs_pos(abs_pos: Tensor, has_cls_token: bool, hw: tuple[int, int]) -> Tensor:
    """Bring learnt positions of a square map to the size of another.

    Args:
        abs_pos: (1, S * S, C), or one more where there is a class token, which comes first.
        has_cls_token: Whether there is one; it is left out.
        hw: Height and width wanted.

    Returns:
        (1, H, W, C).

    Raises:
        ValueError: The positions are not those of a square.
    """
    positions = abs_pos[:, 1:] if has_cls_token else abs_pos
    side = math.isqrt(positions.shape[1])
    if side * side != positions.shape[1]:
        raise ValueError(
            f"Positions need to be those of a square map; found {positions.shape[1]} of them "
            f"({'without' if has_cls_token else 'with no'} class token)."
        )
    grid = positions.unflatten(1, (side, side))
    if (side, side) == tuple(hw):
        return grid
    resized = F.interpolate(grid.permute(0, 3, 1, 2), size=hw, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1)


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Return the rates of ``depth`` blocks, which grow evenly from 0 to ``last``."""
    return [last * index / max(depth - 1, 1) for index in range(depth)]


def init_transformer(module: nn.Module) -> None:
    """Draw the weights of linear layers, for ``nn.Module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

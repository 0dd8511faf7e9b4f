"""The convolutions of a region proposal network."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import Conv2d, ShapeSpec
from d2seg.core.layers.conv import is_watched
from d2seg.core.modeling.anchor_generator import build_anchor_generator
from d2seg.core.modeling.proposal_generator.few_gradients import conv2d_with_few_gradients
from d2seg.core.runtime.registry import Registry

RPN_HEAD_REGISTRY = Registry("RPN_HEAD")
"""Classes called with ``(cfg, input_shape)``; see `StandardRPNHead`."""


@RPN_HEAD_REGISTRY.register()
class StandardRPNHead(nn.Module):
    """3x3 convolutions shared by all levels, then objectness and deltas for each anchor.

    Args:
        in_channels: Channels of every feature level.
        num_anchors: Anchors of each cell, the same for every level.
        box_dim: Values of each box.
        conv_dims: Channels of each 3x3 convolution; -1 for as many as its input has.
    """

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        num_anchors: int,
        box_dim: int = 4,
        conv_dims: Sequence[int] = (-1,),
    ) -> None:
        super().__init__()
        channels = [in_channels]
        for width in conv_dims:
            channels.append(channels[-1] if width == -1 else width)
        if min(channels) <= 0:
            raise ValueError(
                f"MODEL.RPN.CONV_DIMS is {list(conv_dims)}, but each must be above 0, or -1."
            )
        convs = [
            Conv2d(before, after, 3, padding=1, activation=nn.ReLU())
            for before, after in pairwise(channels)
        ]
        # One convolution is named `conv` in published weights, several `conv.conv0`, ...
        self.conv: nn.Module
        if len(convs) == 1:
            self.conv = convs[0]
        else:
            self.conv = nn.Sequential()
            for index, conv in enumerate(convs):
                self.conv.add_module(f"conv{index}", conv)
        self.objectness_logits = nn.Conv2d(channels[-1], num_anchors, 1)
        self.anchor_deltas = nn.Conv2d(channels[-1], num_anchors * box_dim, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    @classmethod
    def from_config(cls, cfg: Any, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        channels = {shape.channels for shape in input_shape}
        if len(channels) != 1:
            raise ValueError(
                f"MODEL.RPN.IN_FEATURES have {sorted(map(str, channels))} channels, not equal ones."
            )
        generator = build_anchor_generator(cfg, input_shape)
        counts = set(generator.num_anchors)  # type: ignore[arg-type]
        if len(counts) != 1:
            raise ValueError(
                f"MODEL.ANCHOR_GENERATOR gives {sorted(counts)} anchors for the cells of different "
                "levels, but an RPN needs as many on every level."
            )
        return {
            "in_channels": channels.pop(),
            "num_anchors": counts.pop(),
            "box_dim": generator.box_dim,
            "conv_dims": cfg.MODEL.RPN.CONV_DIMS,
        }

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict from features (B, C, H_l, W_l) of each level.

        Returns:
            Per level objectness (B, A, H_l, W_l) and deltas (B, A * 4, H_l, W_l).
        """
        logits: list[Tensor] = []
        deltas: list[Tensor] = []
        for feature in features:  # what is between is not kept for all levels at once
            if torch.jit.is_scripting():  # noqa: SIM108 - TorchScript compiles both sides of others
                hidden = self.conv(feature)
            else:
                hidden = self._convolve(feature)
            logits.append(self.objectness_logits(hidden))
            deltas.append(self.anchor_deltas(hidden))
        return logits, deltas

    def _convs(self) -> list[Any]:
        return [self.conv] if isinstance(self.conv, Conv2d) else list(self.conv.children())

    def _convolve(self, x: Tensor) -> Tensor:
        """Run ``self.conv``; in training, where nearly all gradients are zeros, skip those.

        A GPU computes them sooner than the host could find out which they are.
        """
        is_trained = self.training and torch.is_grad_enabled() and not is_watched(self.conv)
        skips = is_trained and x.device.type == "cpu"
        if not skips or not all(map(_is_plain, self._convs())):
            return self.conv(x)
        for conv in self._convs():
            x = F.relu_(conv2d_with_few_gradients(x, conv.weight, conv.bias))
        return x


def _is_plain(conv: nn.Module) -> bool:
    """Tell whether this is one of the layers that are made above, and nobody watches it."""
    return (
        type(conv) is Conv2d
        and conv.norm is None
        and isinstance(conv.activation, nn.ReLU)
        and conv.kernel_size == (3, 3)
        and (conv.stride, conv.padding, conv.dilation, conv.groups) == ((1, 1), (1, 1), (1, 1), 1)
        and not is_watched(conv)
    )


def build_rpn_head(cfg: Any, input_shape: list[ShapeSpec]) -> nn.Module:
    """Build the head that ``MODEL.RPN.HEAD_NAME`` names."""
    return RPN_HEAD_REGISTRY.get(cfg.MODEL.RPN.HEAD_NAME)(cfg, input_shape)

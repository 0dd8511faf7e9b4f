"""The 3x3 convolutions that box and mask heads begin with."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from d2seg.core.layers import Conv2d, get_norm


def add_convolutions(
    module: nn.Module, prefix: str, in_channels: int, widths: Sequence[int], norm: Any
) -> list[nn.Module]:
    """Add convolutions with norm and ReLU that keep the size, named prefix1, prefix2, ...

    Their weights are still to be filled.

    Args:
        module: Gets them as children.
        prefix: Of their names.
        in_channels: Channels of the first input.
        widths: Channels of each output.
        norm: As of `d2seg.core.layers.get_norm`; with one the convolutions have no bias.

    Returns:
        The convolutions in order.
    """
    convs: list[nn.Module] = []
    for index, width in enumerate(widths, start=1):
        conv = Conv2d(
            in_channels,
            width,
            3,
            padding=1,
            bias=not norm,
            norm=get_norm(norm, width),
            activation=nn.ReLU(),
        )
        module.add_module(f"{prefix}{index}", conv)
        convs.append(conv)
        in_channels = width
    return convs

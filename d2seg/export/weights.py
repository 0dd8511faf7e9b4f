"""Smaller files: weights stored with fewer bits, and turned into floats where they are used.

The arithmetic stays that of float32, so the operators are those that every runtime has, and nothing
about the activations has to be calibrated. Two ways of storing:

- ``half``: float16, half the size;
- ``int8``: one byte per weight and one float scale per output channel, a quarter of the size.

Biases, norms and anchors, which are few, stay as they are.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.framework import Linear

WEIGHTS = ("fp32", "half", "int8")
"""How the weights of a file may be stored."""

INT8_LIMIT = 127
"""Stored values lie in [-127, 127], so that zero is exact and both signs are alike."""


def check_weights(weights: str) -> None:
    """Refuse a way of storing that does not exist.

    Raises:
        ValueError: Names those that do.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights is '{weights}'; use one of {', '.join(WEIGHTS)}.")


def reduce_weights(module: nn.Module, weights: str) -> nn.Module:
    """Copy a module, storing the weights of convolutions and linear layers with fewer bits.

    Args:
        module: Its plain ``Conv2d``, ``ConvTranspose2d`` and ``Linear`` layers, and weights in a
            :class:`FullWeight`, are replaced; subclasses, which may compute something else, keep
            theirs. Not modified.
        weights: ``fp32``, ``half`` or ``int8``.

    Returns:
        The copy, scriptable where the module is; for ``fp32`` the module itself.

    Raises:
        ValueError: The way of storing is unknown, or a weight is too large for float16.
    """
    check_weights(weights)
    if weights == "fp32":
        return module
    return _replace_layers(copy.deepcopy(module), weights, {}).eval().requires_grad_(False)


def _replace_layers(module: nn.Module, weights: str, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """Replace the layers in a module by reduced ones; a layer in two places stays one."""
    if module not in done:
        layer = _REDUCED.get(type(module)) if _pads_plainly(module) else None
        done[module] = module if layer is None else layer(module, weights)
        if layer is None:
            for name, child in list(module._modules.items()):  # named_children skips repeats
                if child is not None:
                    setattr(module, name, _replace_layers(child, weights, done))
    return done[module]


def _pads_plainly(module: nn.Module) -> bool:
    """Tell whether a module has no padding, or zeros of a width that is a number."""
    plain = getattr(module, "padding_mode", "zeros") == "zeros"
    return plain and not isinstance(getattr(module, "padding", 0), str)


class FullWeight(nn.Module):
    """A weight stored as it is, for a layer of our own that wants to be reduced with the others.

    Args:
        weight: (C_out, ...) float; copied.
    """

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().clone())

    def forward(self, like: Tensor) -> Tensor:
        """Return the weight, whatever ``like`` is."""
        return self.weight


class HalfWeight(nn.Module):
    """A weight stored as float16.

    Args:
        weight: Any shape, float.

    Raises:
        ValueError: A value is beyond what float16 can hold.
    """

    stored: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("stored", weight.detach().to(torch.float16))
        if not bool(self.stored.isfinite().all()):
            largest = float(weight.detach().abs().max())
            raise ValueError(
                f"A weight of {largest:g} does not fit float16, which ends at 65504; export with "
                "weights 'fp32' or 'int8'."
            )

    def forward(self, like: Tensor) -> Tensor:
        """Return the weight in the type of ``like``."""
        # The type of a tensor that is known at run time only: freezing cannot fold this away.
        return self.stored.to(like)


class Int8Weight(nn.Module):
    """A weight stored as int8 with one scale for each output channel.

    Args:
        weight: Any shape, float.
        channel_axis: Axis of the output channels.
    """

    stored: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, channel_axis: int) -> None:
        super().__init__()
        others = [axis for axis in range(weight.dim()) if axis != channel_axis]
        largest = weight.detach().abs().amax(dim=others, keepdim=True)
        scale = torch.where(largest > 0, largest / INT8_LIMIT, 1.0)
        self.register_buffer("scale", scale)
        self.register_buffer("stored", (weight.detach() / scale).round().to(torch.int8))

    def forward(self, like: Tensor) -> Tensor:
        """Return the weight in the type of ``like``."""
        return self.stored.to(like) * self.scale


class ReducedConv2d(nn.Module):
    """A convolution that restores its weight when it runs.

    Args:
        conv: Pads with zeros. Not modified.
        weights: ``half`` or ``int8``.
    """

    def __init__(self, conv: nn.Conv2d, weights: str) -> None:
        super().__init__()
        self.weight = _store(conv.weight, weights)
        self.bias = conv.bias
        self.stride, self.padding = _pair(conv.stride), _pair(conv.padding)
        self.dilation, self.groups = _pair(conv.dilation), conv.groups

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H', W')."""
        weight = self.weight(x)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class ReducedConvTranspose2d(nn.Module):
    """A transposed convolution that restores its weight when it runs.

    Args:
        conv: Not modified.
        weights: ``half`` or ``int8``.
    """

    def __init__(self, conv: nn.ConvTranspose2d, weights: str) -> None:
        super().__init__()
        # (C_in, C_out / groups, h, w): with groups, channels of several outputs share a scale.
        self.weight = _store(conv.weight, weights, channel_axis=1)
        self.bias = conv.bias
        self.stride, self.padding = _pair(conv.stride), _pair(conv.padding)
        self.output_padding = _pair(conv.output_padding)
        self.dilation, self.groups = _pair(conv.dilation), conv.groups

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H', W')."""
        return F.conv_transpose2d(
            x,
            self.weight(x),
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


class ReducedLinear(nn.Module):
    """A linear layer that restores its weight when it runs.

    Args:
        linear: Not modified.
        weights: ``half`` or ``int8``.
    """

    def __init__(self, linear: nn.Linear, weights: str) -> None:
        super().__init__()
        self.weight = _store(linear.weight, weights)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C_in) to (..., C_out)."""
        return F.linear(x, self.weight(x), self.bias)


def _reduce_full(full: FullWeight, weights: str) -> nn.Module:
    return _store(full.weight, weights)


_REDUCED: dict[type, Callable[[Any, str], nn.Module]] = {
    FullWeight: _reduce_full,
    nn.Conv2d: ReducedConv2d,
    nn.ConvTranspose2d: ReducedConvTranspose2d,
    nn.Linear: ReducedLinear,
    Linear: ReducedLinear,
}


def _store(weight: Tensor, weights: str, channel_axis: int = 0) -> nn.Module:
    return HalfWeight(weight) if weights == "half" else Int8Weight(weight, channel_axis)


def _pair(value: object) -> tuple[int, int]:
    """Return two integers; detectron2's layers have them as one or as two."""
    first, second = value if isinstance(value, tuple) else (value, value)
    return int(first), int(second)

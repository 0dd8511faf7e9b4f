"""Convolution with norm and activation; in inference on a CPU in one go, a sum and ReLU included.

Weights are small beside feature maps, so a norm is multiplied into them where it only scales and
shifts: in training a fixed one, which the maps then go through neither forwards nor backwards, and
in inference on a CPU any. Nothing is kept between calls: the weights are folded anew each time,
which costs one pass over them, so a model can be trained on, loaded or moved at any moment, and its
state stays as it is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.layers.batch_norm import FrozenBatchNorm2d


class Conv2d(nn.Conv2d):
    """Convolution followed by an optional norm and an optional activation.

    Args:
        *args: As of ``torch.nn.Conv2d``.
        norm: Applied to the output of the convolution.
        activation: Applied last.
        **kwargs: As of ``torch.nn.Conv2d``.
    """

    def __init__(
        self,
        *args: Any,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H', W')."""
        if torch.jit.is_scripting():
            x = self._conv_forward(x, self.weight, self.bias)
            if self.norm is not None:
                x = self.norm(x)
        else:  # TorchScript leaves out branches, but joins no conditions before it does
            if _can_fuse(self, x):
                return _run_fused(self, x, False, None)
            folds = _folds_in_training(self.norm)
            x = self._conv_forward(x, *(_fold(self) if folds else (self.weight, self.bias)))
            if self.norm is not None and not folds:
                x = self.norm(x)
        if self.activation is not None:
            x = self.activation(x)
        return x


_WANTED: ContextVar[bool] = ContextVar("d2seg_fusing", default=True)


@contextmanager
def fusing(wanted: bool) -> Iterator[None]:
    """Let faster operators stand in for others inside the block, or do not; without it they do.

    That is: in inference layers are fused, and masks computed for their own class alone; on a CPU
    linear layers are oneDNN's, and maps have the channels of a pixel side by side, so that regions
    are pooled by gathering pixels. Results are the same up to rounding. ``MODEL.INFERENCE.FUSE``
    makes such a block of each prediction; training always uses the faster operators.
    """
    token = _WANTED.set(wanted)
    try:
        yield
    finally:
        _WANTED.reset(token)


def may_replace_operators() -> bool:
    """Tell whether an operator may stand in for others now: nobody records what is run."""
    # A compiler knows its own state, but not variables of a context: asked first, it goes on.
    return not torch.compiler.is_compiling() and not torch.jit.is_tracing() and _WANTED.get()


def is_fusing() -> bool:
    """Tell whether layers may be fused now: besides, nobody asks for gradients."""
    return may_replace_operators() and not torch.is_grad_enabled()


def channels_last(x: Tensor) -> Tensor:
    """Lay out (B, C, H, W) with the channels of a pixel side by side, where that is faster.

    oneDNN then computes on it as it is, without blocking it first and unblocking the result; in
    training the gradients are laid out likewise.
    """
    if x.device.type == "cpu" and x.dim() == 4 and may_replace_operators():
        return x.contiguous(memory_format=torch.channels_last)
    return x


def run_where_trained(layer: nn.Module, x: Tensor) -> Tensor:
    """Run a layer, as in inference where it is frozen and nothing before it is trained."""
    wanted = x.requires_grad or any(one.requires_grad for one in layer.parameters())
    with torch.set_grad_enabled(torch.is_grad_enabled() and wanted):
        out: Tensor = layer(x)
    return out


def convolve(
    conv: nn.Module,
    x: Tensor,
    *,
    relu: bool = False,
    residual: Tensor | None = None,
    owned: bool = False,
) -> Tensor:
    """Run a convolution layer, add something to what it gives, and take its positive part.

    Args:
        conv: A layer of (B, C, H, W); ``Conv2d`` is fused where that is possible.
        x: Its input. Not modified.
        relu: Take the positive part at the end.
        residual: (B, C', H', W') to add before that.
        owned: Nobody else holds the residual, so that it may be overwritten; otherwise it is not.
    """
    if _can_fuse(conv, x):
        return _run_fused(conv, x, relu, residual, owned)
    out: Tensor = conv(x)
    if residual is not None:
        if relu:
            return rectify_sum(out, residual)
        return out.add_(residual) if _is_free(conv, out) else out + residual
    # Without gradients somebody else may hold the output.
    in_place = is_fusing() and type(conv) is Conv2d and not is_watched(conv)
    if not relu:
        return out
    return F.relu_(out) if in_place else rectify(out)


def _is_free(conv: nn.Module, out: Tensor) -> bool:
    """Tell whether nobody, autograd included, holds the output of a convolution."""
    is_bare = type(conv) is Conv2d and conv.norm is None and conv.activation is None
    return is_bare and out.requires_grad and not is_watched(conv)


def rectify(x: Tensor) -> Tensor:
    """Return max(x, 0); in training in place of x, which nobody needs for the gradients."""
    return F.relu_(x) if x.requires_grad else F.relu(x)


def rectify_sum(residual: Tensor, x: Tensor) -> Tensor:
    """Return max(residual + x, 0); in training in place of the residual."""
    if residual.requires_grad:
        return F.relu_(residual.add_(x))
    return F.relu(residual + x)


def _can_fuse(conv: Any, x: Tensor) -> bool:
    return bool(
        is_fusing()
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16)
        and x.dim() == 4
        and x.numel() > 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and type(conv) is Conv2d  # a subclass may compute something else
        and conv.weight.dtype == torch.float32
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and _is_foldable(getattr(conv, "norm", None))
        and isinstance(getattr(conv, "activation", None), nn.ReLU | None)
        and not is_watched(conv)
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and torch.backends.mkldnn.enabled
    )


def _is_foldable(norm: nn.Module | None) -> bool:
    """Tell whether a norm only scales and shifts."""
    if norm is None:
        return True
    if is_watched(norm):
        return False
    if isinstance(norm, FrozenBatchNorm2d):
        return True
    return isinstance(norm, nn.BatchNorm2d) and not norm.training and norm.track_running_stats


def _folds_in_training(norm: nn.Module | None) -> bool:
    """Tell whether a norm is fixed, in training, and nobody waits for what goes into it."""
    if type(norm) is not FrozenBatchNorm2d or not torch.is_grad_enabled():
        return False
    return not is_watched(norm)


def is_watched(module: nn.Module) -> bool:
    """Tell whether hooks wait for what goes into a module or comes out of it."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _run_fused(
    conv: Any, x: Tensor, relu: bool, residual: Tensor | None, owned: bool = False
) -> Tensor:
    weight, bias = _fold(conv)
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    weight = weight.to(x.dtype)
    bias = bias if bias is None else bias.to(x.dtype)
    geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
    run = torch.ops.mkldnn._convolution_pointwise
    own_relu = getattr(conv, "activation", None) is not None
    if residual is None:
        attribute = "relu" if relu or own_relu else "none"
        return run(x, weight, bias, *geometry, attribute, [], "")
    if own_relu:
        out = run(x, weight, bias, *geometry, "relu", [], "").add_(residual)
        return out.relu_() if relu else out
    other = residual.to(x.dtype)
    after = "relu" if relu else None
    if owned and other.is_contiguous(memory_format=torch.channels_last):
        add_to = torch.ops.mkldnn._convolution_pointwise_.binary
        return add_to(other, x, weight, bias, *geometry, "add", 1.0, after, [], "")
    return run.binary(x, other, weight, bias, *geometry, "add", 1.0, after, [], "")


def _fold(conv: Any) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a convolution with its norm multiplied in."""
    norm = getattr(conv, "norm", None)
    if norm is None:
        return conv.weight, conv.bias
    if isinstance(norm, FrozenBatchNorm2d):
        scale, shift = norm.scale_and_shift()
    else:
        scale = torch.rsqrt(norm.running_var + norm.eps)
        scale = scale if norm.weight is None else scale * norm.weight
        shift = -norm.running_mean * scale
        shift = shift if norm.bias is None else shift + norm.bias
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    return conv.weight * scale[:, None, None, None], shift

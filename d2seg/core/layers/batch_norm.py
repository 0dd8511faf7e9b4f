"""Normalisation layers and their names in configs."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from d2seg.core.runtime.comm import get_world_size

NormFactory = Callable[[int], nn.Module]


class FrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics and affine parameters are fixed buffers.

    Its state has the names of ``torch.nn.BatchNorm2d``, so either loads the other's weights. The
    batch counter is there only in a layer that was made from a trainable one, as in detectron2.
    Weights without statistics (Caffe2's, which fold them into scale and shift) load too: the
    statistics become those of a layer that only scales and shifts.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance.
    """

    _version = 3  # the state of versions below 2, or of none, may lack statistics

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor | None

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features) - eps)
        self.register_buffer("num_batches_tracked", None)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) float with the fixed statistics."""
        if not x.requires_grad:
            return F.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                training=False,
                eps=self.eps,
            )
        # As multiply and add the backward pass keeps no gradients of the fixed parameters.
        scale, shift = self.scale_and_shift()
        return x * scale.to(x.dtype)[:, None, None] + shift.to(x.dtype)[:, None, None]

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return what channels are multiplied by, then what is added: (C,) each."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        if self.num_batches_tracked is None:
            # The one entry of a trainable batch norm that has no meaning here.
            state_dict.pop(prefix + "num_batches_tracked", None)
        if (local_metadata.get("version") or 0) < 2:
            state_dict.setdefault(prefix + "running_mean", torch.zeros_like(self.running_mean))
            unit = torch.ones_like(self.running_var) - self.eps
            state_dict.setdefault(prefix + "running_var", unit)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def extra_repr(self) -> str:
        """Describe the layer in ``print(model)``."""
        return f"{self.num_features}, eps={self.eps}"

    @classmethod
    def convert_frozen_batchnorm(cls, module: nn.Module) -> nn.Module:
        """Replace every trainable batch norm in a module by a frozen one of the same values.

        Args:
            module: Changed in place, unless it is a batch norm itself.

        Returns:
            The module, or the frozen layer that replaces it.

        Raises:
            ValueError: A batch norm keeps no running statistics that could be frozen.
        """
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            return cls._frozen(module)
        for name, child in module.named_children():
            replacement = cls.convert_frozen_batchnorm(child)
            if replacement is not child:
                setattr(module, name, replacement)
        return module

    @classmethod
    def _frozen(cls, norm: nn.BatchNorm2d | nn.SyncBatchNorm) -> "FrozenBatchNorm2d":
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError(
                "A batch norm with track_running_stats=False has no statistics to freeze."
            )
        frozen = cls(norm.num_features, norm.eps).to(norm.running_mean.device)
        frozen.num_batches_tracked = norm.num_batches_tracked
        # Without affine parameters scale and shift stay 1 and 0.
        frozen.load_state_dict({**frozen.state_dict(), **norm.state_dict()})
        return frozen


class NaiveSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the images of all processes, on any device.

    ``torch.nn.SyncBatchNorm`` is faster, but needs GPUs and images in every process.

    Args:
        *args: As of ``torch.nn.BatchNorm2d``.
        stats_mode: Empty: the processes count alike; ``N``: by their numbers of images.
        **kwargs: As of ``torch.nn.BatchNorm2d``.
    """

    def __init__(self, *args: Any, stats_mode: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if stats_mode not in ("", "N"):
            raise ValueError(f"stats_mode is '{stats_mode}', but must be '' or 'N'.")
        self._by_images = stats_mode == "N"

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, H, W) float.

        Raises:
            ValueError: The batch is empty, and the processes count alike.
        """
        if get_world_size() == 1 or not self.training:
            return super().forward(input)
        mean, mean_square, count = self._shared_statistics(input.float())
        variance = mean_square - mean * mean
        with torch.no_grad():
            # Without an image in any process there is nothing to learn from.
            share = count.clamp(max=1) * (self.momentum if self.momentum is not None else 0.1)
            self.running_mean.lerp_(mean, share)  # type: ignore[union-attr]
            self.running_var.lerp_(variance, share)  # type: ignore[union-attr]
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return input * scale.to(input.dtype)[:, None, None] + shift.to(input.dtype)[:, None, None]

    def _shared_statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Average over all processes: mean and mean square (C,), with gradients, and the count."""
        if len(x) == 0 and not self._by_images:
            raise ValueError(
                "naiveSyncBN got a batch of 0 images, which would count as much as a full one; "
                "use NORM 'naiveSyncBN_N', which counts the images of each process."
            )
        own = x.mean(dim=(0, 2, 3)), (x * x).mean(dim=(0, 2, 3))
        if len(x) == 0:
            own = x.new_zeros(x.shape[1]) + x.sum(), x.new_zeros(x.shape[1]) + x.sum()
        packed = torch.cat([*own, x.new_ones(1)]) * (float(len(x)) if self._by_images else 1.0)
        total = all_reduce(packed)
        count = total[-1].detach()
        mean, mean_square = (total[:-1] / count.clamp(min=1)).chunk(2)
        return mean, mean_square, count


class LayerNorm(nn.Module):
    """Layer norm over the channels of each pixel of (B, C, H, W).

    Args:
        normalized_shape: Number of channels C.
        eps: Added to the variance.
    """

    def __init__(self, normalized_shape: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(normalized_shape))
        self.bias = nn.Parameter(torch.zeros(normalized_shape))
        self.eps = eps
        self.normalized_shape = (normalized_shape,)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) float."""
        last = x.permute(0, 2, 3, 1)
        normed = F.layer_norm(last, self.normalized_shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


class CycleBatchNormList(nn.ModuleList):
    """Batch norms that take turns: one for each level that a shared head goes over.

    The statistics are those of each level, the affine parameters are shared.

    Args:
        length: How many; the input of call i goes to norm i modulo ``length``.
        bn_class: Class of the norms.
        **kwargs: Arguments of the class, ``num_features`` among them.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self, length: int, bn_class: type[nn.Module] = nn.BatchNorm2d, **kwargs: Any
    ) -> None:
        affine = kwargs.pop("affine", True)
        super().__init__([bn_class(**kwargs, affine=False) for _ in range(length)])
        if affine:
            channels = int(self[0].num_features)  # type: ignore[arg-type]
            self.weight = nn.Parameter(torch.ones(channels))
            self.bias = nn.Parameter(torch.zeros(channels))
        self.affine = affine
        self._next = 0

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) float with the norm whose turn it is."""
        x = self[self._next](x)
        self._next = (self._next + 1) % len(self)
        if not self.affine:
            return x
        return x * self.weight[:, None, None] + self.bias[:, None, None]

    def extra_repr(self) -> str:
        """Describe the list in ``print(model)``."""
        return f"affine={self.affine}"


def _group_norm(channels: int) -> nn.Module:
    if channels % 32:
        raise ValueError(
            f"NORM 'GN' splits channels into 32 groups, but a layer has {channels}; "
            "use a multiple of 32 or another norm."
        )
    return nn.GroupNorm(32, channels)


_NORMS: dict[str, NormFactory] = {
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "nnSyncBN": nn.SyncBatchNorm,
    "naiveSyncBN": NaiveSyncBatchNorm,
    "naiveSyncBN_N": lambda channels: NaiveSyncBatchNorm(channels, stats_mode="N"),
    "FrozenBN": FrozenBatchNorm2d,
    "GN": _group_norm,
    "LN": LayerNorm,
}


def norm_with_eps(norm: str | NormFactory | None, eps: float) -> NormFactory | None:
    """Return what `get_norm` takes for a norm that adds ``eps`` to the variance.

    Args:
        norm: As of `get_norm`.
        eps: 0 or more.

    Raises:
        ValueError: ``eps`` is negative.
    """
    if eps < 0:
        raise ValueError(f"A norm's eps is added to a variance and must be 0 or more, not {eps}.")

    def build(out_channels: int) -> nn.Module:
        layer: Any = get_norm(norm, out_channels)
        layer.eps = eps
        return layer

    return build if norm else None


def get_norm(norm: str | NormFactory | None, out_channels: int) -> nn.Module | None:
    """Build the normalisation layer that a config names.

    Args:
        norm: A name, a function from the number of channels to a layer, or "" / None for none.
        out_channels: Number of channels.

    Raises:
        ValueError: The name is not known.
    """
    if not norm:
        return None
    if not isinstance(norm, str):
        return norm(out_channels)
    if norm not in _NORMS:
        raise ValueError(f"NORM is '{norm}', but must be '' or one of {', '.join(_NORMS)}.")
    return _NORMS[norm](out_channels)

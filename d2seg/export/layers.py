"""Plain layers made from detectron2-style ones, batch norms folded into the convolutions."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init
from torch.nn.utils.fusion import fuse_conv_bn_weights

from d2seg.core.ops.pooling import pool_multilevel


def fold_convolution(conv: nn.Conv2d) -> nn.Module:
    """Copy a convolution with its optional norm and activation into plain layers.

    A batch norm (frozen, trainable or synchronised) uses its running statistics, as in inference,
    and disappears into weight and bias; any other norm follows as a layer of its own.

    Args:
        conv: A convolution, optionally with the attributes ``norm`` and ``activation`` of
            detectron2's. Not modified.

    Raises:
        ValueError: The activation is something other than a ReLU.
    """
    norm: Any = getattr(conv, "norm", None)
    activation: Any = getattr(conv, "activation", None)
    is_folded = hasattr(norm, "running_mean")
    layers: list[nn.Module] = [plain_convolution(conv, norm if is_folded else None)]
    if norm is not None and not is_folded:
        layers.append(norm_as_layer(norm))
    if activation is not None:
        layers.append(_plain_activation(activation))
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def norm_as_layer(norm: nn.Module | None) -> nn.Module:
    """Copy a norm that is not folded into a convolution; nothing for a batch norm or none."""
    folded = norm is None or hasattr(norm, "running_mean")
    return nn.Identity() if folded else copy.deepcopy(norm)  # type: ignore[return-value]


def fold_all(convs: Iterable[nn.Module]) -> list[nn.Module]:
    """Apply :func:`fold_convolution` to each of them."""
    return [fold_convolution(conv) for conv in convs if isinstance(conv, nn.Conv2d)]


def plain_convolution(conv: nn.Conv2d, batch_norm: Any = None) -> nn.Conv2d:
    """Copy a convolution alone.

    Args:
        conv: Its norm and activation, if it has any, are left out. Not modified.
        batch_norm: Folded into the weights, by its running statistics.
    """
    weight, bias = conv.weight, conv.bias
    if batch_norm is not None:
        weight, bias = fuse_conv_bn_weights(
            conv.weight,
            conv.bias,
            batch_norm.running_mean,
            batch_norm.running_var,
            batch_norm.eps,
            batch_norm.weight,
            batch_norm.bias,
        )
    plain: nn.Conv2d = skip_init(
        nn.Conv2d,
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        bias=bias is not None,
    )
    state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    plain.load_state_dict(state)
    return plain


def _plain_activation(activation: Callable[[Tensor], Tensor]) -> nn.Module:
    if isinstance(activation, nn.ReLU) or activation in (F.relu, F.relu_, torch.relu):
        return nn.ReLU()
    name = getattr(activation, "__name__", type(activation).__name__)
    raise ValueError(f"A convolution has the activation '{name}', but only ReLU can be exported.")


class Pooler(nn.Module):
    """Region pooling of one image with the settings of a model's pooler.

    Args:
        pooler: detectron2's ``ROIPooler``.
        levels: Which of the pyramid's levels it pools from, finest first.
        aten_only: Use no torchvision operator.
    """

    def __init__(self, pooler: Any, levels: list[int], aten_only: bool) -> None:
        super().__init__()
        # detectron2 keeps these three in one ROIAlign for each level.
        per_level = list(getattr(pooler, "level_poolers", []))
        source = per_level[0] if per_level else pooler
        kind = getattr(pooler, "pooler_type", type(source).__name__)
        if kind not in ("ROIAlign", "ROIAlignV2"):
            raise ValueError(
                f"The model pools with '{kind}', but only ROIAlign and ROIAlignV2 can be exported."
            )
        self.scales: list[float] = [one.spatial_scale for one in per_level] or list(pooler.scales)
        self.sampling_ratio: int = source.sampling_ratio
        self.aligned: bool = source.aligned
        height, width = pooler.output_size
        self.output_hw: tuple[int, int] = (int(height), int(width))
        self.canonical_size = float(pooler.canonical_box_size)
        self.canonical_level: int = pooler.canonical_level
        self.level_margin = float(getattr(pooler, "level_margin", 0.0))
        self.levels = levels
        self.aten_only = aten_only

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """Pool boxes (R, 4), XYXY pixels, from the levels (1, C, H_l, W_l): (R, C, h, w)."""
        return pool_multilevel(
            [features[level] for level in self.levels],
            boxes,
            torch.zeros(boxes.shape[0], dtype=torch.int64, device=boxes.device),
            self.output_hw,
            self.scales,
            self.sampling_ratio,
            self.aligned,
            self.canonical_size,
            self.canonical_level,
            self.aten_only,
            self.level_margin,
        )

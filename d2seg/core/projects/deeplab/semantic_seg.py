"""Heads for semantic maps (DeepLab v3, arXiv:1706.05587; v3+, arXiv:1802.02611)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling import SEM_SEG_HEADS_REGISTRY
from d2seg.core.modeling.backbone.backbone import named_shapes
from d2seg.core.modeling.losses import Losses
from d2seg.core.projects.deeplab.head import DeepLabHead
from d2seg.core.projects.deeplab.parts import (
    build_decoder_level,
    build_predictor,
    build_pyramid,
)


@SEM_SEG_HEADS_REGISTRY.register()
class DeepLabV3Head(DeepLabHead):
    """Atrous spatial pyramid pooling of the last features, and a classifier.

    Args:
        input_shape: The one feature level that is read.
        num_classes: C.
        conv_dims: Channels of the pyramid.
        aspp_dilations: Three.
        aspp_dropout: Share of the pyramid's output that is dropped in training.
        norm: As of `d2seg.core.layers.get_norm`.
        train_size: Height and width of training crops, over which the pyramid pools; None for the
            whole map.
        use_depthwise_separable_conv: In the pyramid.
        **kwargs: As of `DeepLabHead`.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_classes: int,
        conv_dims: int,
        aspp_dilations: Sequence[int],
        aspp_dropout: float,
        norm: Any,
        train_size: tuple[int, int] | None,
        use_depthwise_separable_conv: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if len(input_shape) != 1:
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.IN_FEATURES names {len(input_shape)} levels, but "
                "DeepLabV3Head reads one."
            )
        self.in_features, shapes = list(input_shape), list(input_shape.values())
        self.aspp = build_pyramid(
            shapes[0],
            conv_dims,
            aspp_dilations,
            aspp_dropout,
            norm,
            train_size,
            use_depthwise_separable_conv,
        )
        self.predictor = build_predictor(conv_dims, num_classes)

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        return {
            **_shared_arguments(cfg, input_shape),
            "conv_dims": cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM,
        }

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        """Compute logits (B, C, H / stride, W / stride)."""
        return self.predictor(self.aspp(features[self.in_features[0]]))


@SEM_SEG_HEADS_REGISTRY.register()
class DeepLabV3PlusHead(DeepLabHead):
    """The pyramid, and a decoder that brings finer levels back (v3+, figure 2).

    Args:
        input_shape: Feature levels to use; the coarsest goes through the pyramid.
        project_channels: To how many channels each of the others is reduced, finest first.
        aspp_dilations: Three.
        aspp_dropout: Share of the pyramid's output that is dropped in training.
        decoder_channels: Channels of the decoder at each level, finest first; the last are those
            of the pyramid.
        common_stride: As of `DeepLabHead`.
        norm: As of `d2seg.core.layers.get_norm`.
        train_size: Height and width of training crops, over which the pyramid pools; None for the
            whole map.
        loss_weight: As of `DeepLabHead`.
        loss_type: Likewise.
        ignore_value: Likewise.
        num_classes: C; None to return the decoder's output, (B, decoder_channels[0], H, W).
        use_depthwise_separable_conv: In the pyramid and in the decoder.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        project_channels: Sequence[int],
        aspp_dilations: Sequence[int],
        aspp_dropout: float,
        decoder_channels: Sequence[int],
        common_stride: int,
        norm: Any,
        train_size: tuple[int, int] | None,
        loss_weight: float = 1.0,
        loss_type: str = "cross_entropy",
        ignore_value: int = -1,
        num_classes: int | None = None,
        use_depthwise_separable_conv: bool = False,
    ) -> None:
        super().__init__(common_stride, loss_weight, loss_type, ignore_value)
        by_stride = sorted(input_shape.items(), key=lambda item: item[1].stride or 0)
        self.in_features = [name for name, _ in by_stride]
        _require_widths(len(by_stride), project_channels, decoder_channels)
        self.decoder_only = num_classes is None
        self.decoder = nn.ModuleDict()
        *finer, (last, coarsest) = by_stride
        for index, (name, shape) in enumerate(finer):
            self.decoder[name] = build_decoder_level(
                shape,
                project_channels[index],
                decoder_channels[index],
                decoder_channels[index + 1],
                norm,
                use_depthwise_separable_conv,
            )
        pyramid = build_pyramid(
            coarsest,
            decoder_channels[-1],
            aspp_dilations,
            aspp_dropout,
            norm,
            train_size,
            use_depthwise_separable_conv,
        )
        self.decoder[last] = nn.ModuleDict({"project_conv": pyramid})
        if num_classes is not None:
            self.predictor = build_predictor(decoder_channels[0], num_classes)

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        head = cfg.MODEL.SEM_SEG_HEAD
        widths = [head.CONVS_DIM] * (len(head.IN_FEATURES) - 1) + [head.ASPP_CHANNELS]
        return {
            **_shared_arguments(cfg, input_shape),
            "project_channels": head.PROJECT_CHANNELS,
            "decoder_channels": widths,
        }

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        """Compute logits (B, C, H / stride, W / stride) at the stride of the finest level."""
        *finer, last = self.in_features
        y = self.decoder[last]["project_conv"](features[last])  # type: ignore[index]
        for name in reversed(finer):
            level: Any = self.decoder[name]
            projected = level["project_conv"](features[name])
            y = F.interpolate(y, size=projected.shape[2:], mode="bilinear", align_corners=False)
            y = level["fuse_conv"](torch.cat([projected, y], dim=1))
        return y if self.decoder_only else self.predictor(y)

    def forward(
        self, features: dict[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, Losses]:
        """Compute the loss in training, the logits otherwise; see `DeepLabHead.forward`."""
        if self.decoder_only:
            raise ValueError("This head has no classes (num_classes is None); call layers().")
        return super().forward(features, targets)


def _shared_arguments(cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
    head, crop = cfg.MODEL.SEM_SEG_HEAD, cfg.INPUT.CROP
    if crop.ENABLED and crop.TYPE != "absolute":
        raise ValueError(
            f"INPUT.CROP.TYPE is '{crop.TYPE}', but DeepLab pools over crops of one size; set it "
            "to 'absolute'."
        )
    return {
        "input_shape": named_shapes(
            "MODEL.SEM_SEG_HEAD.IN_FEATURES", head.IN_FEATURES, input_shape
        ),
        "aspp_dilations": head.ASPP_DILATIONS,
        "aspp_dropout": head.ASPP_DROPOUT,
        "common_stride": head.COMMON_STRIDE,
        "norm": head.NORM,
        "train_size": tuple(crop.SIZE) if crop.ENABLED else None,
        "loss_weight": head.LOSS_WEIGHT,
        "loss_type": head.LOSS_TYPE,
        "ignore_value": head.IGNORE_VALUE,
        "num_classes": head.NUM_CLASSES,
        "use_depthwise_separable_conv": head.USE_DEPTHWISE_SEPARABLE_CONV,
    }


def _require_widths(
    num_levels: int, project_channels: Sequence[int], decoder_channels: Sequence[int]
) -> None:
    if len(project_channels) != num_levels - 1 or len(decoder_channels) != num_levels:
        raise ValueError(
            f"DeepLabV3PlusHead has {num_levels} levels (MODEL.SEM_SEG_HEAD.IN_FEATURES), so it "
            f"needs {num_levels - 1} PROJECT_CHANNELS and {num_levels} widths of the decoder; "
            f"found {len(project_channels)} and {len(decoder_channels)}."
        )

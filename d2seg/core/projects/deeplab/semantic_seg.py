"""Heads for semantic maps (DeepLab v3, arXiv:1706.05587; v3+, arXiv:1802.02611)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn.weight_init import c2_xavier_fill
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import ASPP, Conv2d, DepthwiseSeparableConv2d, ShapeSpec, get_norm
from d2seg.core.modeling import SEM_SEG_HEADS_REGISTRY
from d2seg.core.modeling.backbone.backbone import named_shapes
from d2seg.core.modeling.losses import Losses
from d2seg.core.projects.deeplab.loss import DeepLabCE

HARD_SHARE = 0.2
"""The share of pixels that hard pixel mining trains on."""


class DeepLabHead(nn.Module):
    """What the heads share: the loss, and the enlargement of their logits.

    Args:
        common_stride: Pixels of the image from one logit to the next.
        loss_weight: Weight of ``loss_sem_seg``.
        loss_type: ``cross_entropy`` or ``hard_pixel_mining``.
        ignore_value: Pixels of this class are not trained on.
    """

    def __init__(
        self, common_stride: int, loss_weight: float, loss_type: str, ignore_value: int
    ) -> None:
        super().__init__()
        self.common_stride = common_stride
        self.loss_weight = loss_weight
        self.ignore_value = ignore_value
        self.loss = _loss(loss_type, ignore_value)

    def forward(
        self, features: dict[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, Losses]:
        """Compute the loss in training, the logits otherwise.

        Args:
            features: Name -> (B, C_l, H_l, W_l).
            targets: (B, H, W) int64 classes, for training.

        Returns:
            In training None and the loss; otherwise logits (B, C, H, W) and no losses.
        """
        logits = self.layers(features)
        if self.training:
            if targets is None:
                raise ValueError(f"{type(self).__name__} needs targets in training; call eval().")
            return None, self.losses(logits, targets)
        return self._enlarge(logits), Losses()

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        """Compute logits (B, C, H / common_stride, W / common_stride)."""
        raise NotImplementedError(f"{type(self).__name__} must define layers().")

    def losses(self, predictions: Tensor, targets: Tensor) -> Losses:
        """Compute ``loss_sem_seg`` of logits at the common stride."""
        loss = self.loss(self._enlarge(predictions.float()), targets)
        return Losses({"loss_sem_seg": loss * self.loss_weight})

    def _enlarge(self, logits: Tensor) -> Tensor:
        return F.interpolate(
            logits, scale_factor=self.common_stride, mode="bilinear", align_corners=False
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
        self.aspp = _pyramid(
            shapes[0],
            conv_dims,
            aspp_dilations,
            aspp_dropout,
            norm,
            train_size,
            use_depthwise_separable_conv,
        )
        self.predictor = _predictor(conv_dims, num_classes)

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
            self.decoder[name] = _decoder_level(
                shape,
                project_channels[index],
                decoder_channels[index],
                decoder_channels[index + 1],
                norm,
                use_depthwise_separable_conv,
            )
        pyramid = _pyramid(
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
            self.predictor = _predictor(decoder_channels[0], num_classes)

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


def _loss(loss_type: str, ignore_value: int) -> nn.Module:
    if loss_type == "cross_entropy":
        return nn.CrossEntropyLoss(ignore_index=ignore_value)
    if loss_type == "hard_pixel_mining":
        return DeepLabCE(ignore_value, top_k_percent_pixels=HARD_SHARE)
    raise ValueError(
        f"MODEL.SEM_SEG_HEAD.LOSS_TYPE is '{loss_type}', but must be 'cross_entropy' or "
        "'hard_pixel_mining'."
    )


def _pyramid(
    shape: ShapeSpec,
    width: int,
    dilations: Sequence[int],
    dropout: float,
    norm: Any,
    train_size: tuple[int, int] | None,
    separable: bool,
) -> ASPP:
    stride = shape.stride or 1
    if train_size is not None and (train_size[0] % stride or train_size[1] % stride):
        raise ValueError(
            f"INPUT.CROP.SIZE is {tuple(train_size)}, but must divide into cells of {stride} "
            "pixels, the stride of the features that DeepLab pools."
        )
    return ASPP(
        shape.channels or 0,
        width,
        dilations,
        norm=norm,
        activation=F.relu,
        pool_kernel_size=train_size and (train_size[0] // stride, train_size[1] // stride),
        dropout=dropout,
        use_depthwise_separable_conv=separable,
    )


def _decoder_level(
    shape: ShapeSpec, projected: int, width: int, coarser: int, norm: Any, separable: bool
) -> nn.ModuleDict:
    """Build what reduces a level, and what joins it with the coarser ones."""
    if separable:
        fuse: nn.Module = DepthwiseSeparableConv2d(
            projected + coarser,
            width,
            kernel_size=5,
            padding=2,
            norm1=norm,
            activation1=F.relu,
            norm2=norm,
            activation2=F.relu,
        )
    else:
        fuse = nn.Sequential(
            _conv(projected + coarser, width, 3, norm), _conv(width, width, 3, norm)
        )
    project = _conv(shape.channels or 0, projected, 1, norm)
    return nn.ModuleDict({"project_conv": project, "fuse_conv": fuse})


def _conv(in_channels: int, out_channels: int, kernel: int, norm: Any) -> Conv2d:
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel,
        padding=kernel // 2,
        bias=not norm,
        norm=get_norm(norm, out_channels),
        activation=F.relu,
    )
    c2_xavier_fill(conv)
    return conv


def _predictor(width: int, num_classes: int) -> Conv2d:
    predictor = Conv2d(width, num_classes, 1)
    nn.init.normal_(predictor.weight, std=0.001)
    nn.init.zeros_(predictor.bias)  # type: ignore[arg-type]
    return predictor


def _require_widths(
    num_levels: int, project_channels: Sequence[int], decoder_channels: Sequence[int]
) -> None:
    if len(project_channels) != num_levels - 1 or len(decoder_channels) != num_levels:
        raise ValueError(
            f"DeepLabV3PlusHead has {num_levels} levels (MODEL.SEM_SEG_HEAD.IN_FEATURES), so it "
            f"needs {num_levels - 1} PROJECT_CHANNELS and {num_levels} widths of the decoder; "
            f"found {len(project_channels)} and {len(decoder_channels)}."
        )

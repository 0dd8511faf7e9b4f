"""A class for every pixel, from a feature pyramid (Panoptic FPN, arXiv:1901.02446, section 3)."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn.weight_init import c2_msra_fill
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import Conv2d, ShapeSpec, get_norm
from d2seg.core.modeling.backbone import build_backbone
from d2seg.core.modeling.backbone.backbone import named_shapes
from d2seg.core.modeling.losses import Losses
from d2seg.core.modeling.meta_arch.build import META_ARCH_REGISTRY
from d2seg.core.modeling.meta_arch.image_model import ImageModel, output_size
from d2seg.core.modeling.postprocessing import sem_seg_postprocess
from d2seg.core.runtime.registry import Registry

SEM_SEG_HEADS_REGISTRY = Registry("SEM_SEG_HEADS")
"""Classes called with ``(cfg, input_shape)``; see `SemSegFPNHead`."""


@META_ARCH_REGISTRY.register()
class SemanticSegmentor(ImageModel):
    """A backbone and a head that classifies every pixel.

    Args:
        sem_seg_head: From features to logits of the classes.
        **kwargs: As of `ImageModel`.
    """

    sem_seg_head: Any

    @configurable
    def __init__(self, *, sem_seg_head: nn.Module, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sem_seg_head = sem_seg_head

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Map config keys to arguments."""
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
            **cls.image_arguments(cfg),
        }

    def training_losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Compute ``loss_sem_seg``; inputs need ``sem_seg``, (H, W) int64 classes."""
        images = self.preprocess_image(batched_inputs)
        target = self.semantic_target(batched_inputs, self.sem_seg_head.ignore_value)
        _, losses = self.sem_seg_head(self.backbone(images.tensor), target)
        return losses

    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
        """Classify every pixel.

        Returns:
            For each image ``{"sem_seg": logits}``, (C, H, W) float of the wanted size.
        """
        images = self.preprocess_image(batched_inputs)
        logits, _ = self.sem_seg_head(self.backbone(images.tensor), None)
        return [
            {"sem_seg": sem_seg_postprocess(result, size_hw, *output_size(one, size_hw))}
            for result, one, size_hw in zip(logits, batched_inputs, images.image_sizes, strict=True)
        ]


@SEM_SEG_HEADS_REGISTRY.register()
class SemSegFPNHead(nn.Module):
    """Brings all levels to one resolution, adds them up, and classifies (figure 3).

    Args:
        input_shape: Feature levels to use, with their channels and strides.
        num_classes: C.
        conv_dims: Channels of the convolutions.
        common_stride: Stride of the resolution at which levels are added.
        loss_weight: Weight of ``loss_sem_seg``.
        norm: As of `d2seg.core.layers.get_norm`; with one the convolutions have no bias.
        ignore_value: Pixels of this class are not trained on.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_classes: int,
        conv_dims: int,
        common_stride: int,
        loss_weight: float = 1.0,
        norm: str | Callable[[int], nn.Module] | None = None,
        ignore_value: int = -1,
    ) -> None:
        super().__init__()
        by_stride = sorted(input_shape.items(), key=lambda item: item[1].stride or 0)
        if not by_stride:
            raise ValueError("MODEL.SEM_SEG_HEAD.IN_FEATURES is empty; name at least one level.")
        self.in_features = [name for name, _ in by_stride]
        self.ignore_value = ignore_value
        self.common_stride = common_stride
        self.loss_weight = loss_weight
        for name, shape in by_stride:
            self.add_module(name, _scale_head(name, shape, conv_dims, common_stride, norm))
        self.predictor = Conv2d(conv_dims, num_classes, 1)
        c2_msra_fill(self.predictor)

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        head = cfg.MODEL.SEM_SEG_HEAD
        if head.NUM_CLASSES < 1:
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {head.NUM_CLASSES}, but must be at least 1."
            )
        shapes = named_shapes("MODEL.SEM_SEG_HEAD.IN_FEATURES", head.IN_FEATURES, input_shape)
        return {
            "input_shape": shapes,
            "num_classes": head.NUM_CLASSES,
            "conv_dims": head.CONVS_DIM,
            "common_stride": head.COMMON_STRIDE,
            "loss_weight": head.LOSS_WEIGHT,
            "norm": head.NORM,
            "ignore_value": head.IGNORE_VALUE,
        }

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
                raise ValueError("SemSegFPNHead needs targets in training; call model.eval().")
            return None, self.losses(logits, targets)
        return self._enlarge(logits), Losses()

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        """Compute logits (B, C, H / common_stride, W / common_stride)."""
        levels = [getattr(self, name)(features[name]) for name in self.in_features]
        return self.predictor(torch.stack(levels).sum(dim=0))

    def losses(self, predictions: Tensor, targets: Tensor) -> Losses:
        """Compute the cross entropy of all pixels that count."""
        # In float32 also where the rest runs in half precision: the sum is over many pixels.
        logits = self._enlarge(predictions.float())
        self._require_known(targets, logits.shape[1])
        loss = F.cross_entropy(logits, targets, ignore_index=self.ignore_value)
        return Losses({"loss_sem_seg": loss * self.loss_weight})

    def _require_known(self, targets: Tensor, num_classes: int) -> None:
        unknown = (targets < 0) | (targets >= num_classes)
        unknown &= targets != self.ignore_value
        if bool(unknown.any()):
            raise ValueError(
                f"A pixel of 'sem_seg' is of class {int(targets[unknown][0])}, but "
                f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {num_classes}, and only "
                f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE, {self.ignore_value}, may be outside."
            )

    def _enlarge(self, logits: Tensor) -> Tensor:
        return F.interpolate(
            logits, scale_factor=self.common_stride, mode="bilinear", align_corners=False
        )


def _scale_head(name: str, shape: ShapeSpec, width: int, common_stride: int, norm: Any) -> Any:
    """Build convolutions, each followed by an upsampling by two, until the common stride."""
    stride = shape.stride or 0
    doublings = (stride // common_stride).bit_length() - 1 if stride else -1
    if doublings < 0 or common_stride * 2**doublings != stride:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.COMMON_STRIDE is {common_stride}, but level '{name}' has stride "
            f"{stride}, which must be the common stride times a power of two."
        )
    layers: list[nn.Module] = []
    channels = shape.channels or 0
    for _ in range(max(doublings, 1)):
        conv = Conv2d(
            channels,
            width,
            3,
            padding=1,
            bias=not norm,
            norm=get_norm(norm, width),
            activation=nn.ReLU(),
        )
        c2_msra_fill(conv)
        layers.append(conv)
        if doublings:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
        channels = width
    return nn.Sequential(*layers)


def build_sem_seg_head(cfg: Any, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Build the head that ``MODEL.SEM_SEG_HEAD.NAME`` names."""
    return SEM_SEG_HEADS_REGISTRY.get(cfg.MODEL.SEM_SEG_HEAD.NAME)(cfg, input_shape)

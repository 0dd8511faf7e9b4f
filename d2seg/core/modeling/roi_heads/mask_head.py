"""Masks of regions (Mask R-CNN, arXiv:1703.06870)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn.weight_init import c2_msra_fill
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import ShapeSpec
from d2seg.core.layers.conv import is_fusing, is_watched, may_replace_operators
from d2seg.core.modeling.losses import Losses, LossesOrInstances, share
from d2seg.core.modeling.roi_heads.convolutions import add_convolutions
from d2seg.core.ops.masks import mask_probabilities
from d2seg.core.ops.precision import at_least_single
from d2seg.core.runtime.registry import Registry
from d2seg.core.structures import Instances

ROI_MASK_HEAD_REGISTRY = Registry("ROI_MASK_HEAD")
"""Classes called with ``(cfg, input_shape)``; see `BaseMaskRCNNHead`."""

_REGIONS_AT_ONCE = 64
"""Masks of so many regions are computed together in inference, which bounds the memory."""


class BaseMaskRCNNHead(nn.Module):
    """Turns mask logits, which a subclass computes in ``layers``, into a loss or into masks.

    Args:
        loss_weight: Weight of ``loss_mask``.
        vis_period: Accepted as in detectron2; models draw boxes, not masks.
    """

    @configurable
    def __init__(self, *, loss_weight: float = 1.0, vis_period: int = 0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.vis_period = vis_period

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec) -> dict[str, Any]:
        """Map config keys to arguments."""
        return {"vis_period": cfg.VIS_PERIOD}

    def forward(self, x: Tensor, instances: list[Instances]) -> LossesOrInstances:
        """Compute the loss in training, the masks otherwise.

        Args:
            x: (R, C, S, S) float, pooled regions of all images.
            instances: R of them over all images; in training with ``proposal_boxes``,
                ``gt_classes`` and ``gt_masks``, otherwise with ``pred_classes``.

        Returns:
            In training Losses; otherwise the instances with ``pred_masks`` (N, 1, h, w)
            probabilities added.
        """
        if self.training:
            logits = self.layers_of_classes(x, instances)
            return mask_loss(logits, instances).weighted(self.loss_weight)
        else:  # TorchScript leaves out branches, not what follows them
            if torch.jit.is_scripting():
                mask_rcnn_inference(self.layers(x), instances)
            else:
                mask_rcnn_inference(self.layers_of_classes(x, instances), instances)
            return instances

    @torch.jit.unused
    def layers_of_classes(self, x: Tensor, instances: list[Instances]) -> Tensor:
        """Map (R, C, S, S) to logits (R, K or 1, h, w) of which one class each is read.

        It is ``gt_classes`` in training, ``pred_classes`` otherwise.
        """
        return self.layers(x)

    def layers(self, x: Tensor) -> Tensor:
        """Map (R, C, S, S) to mask logits (R, K or 1, h, w)."""
        raise NotImplementedError(f"{type(self).__name__} must define layers().")


@ROI_MASK_HEAD_REGISTRY.register()
class MaskRCNNConvUpsampleHead(BaseMaskRCNNHead):
    """3x3 convolutions, one upsampling by two, and a 1x1 convolution to a mask for each class.

    Args:
        input_shape: Channels of the pooled regions.
        num_classes: K; 1 for class-agnostic masks.
        conv_dims: Channels of each 3x3 convolution, and last those of the upsampling.
        conv_norm: Norm of the 3x3 convolutions, as of `d2seg.core.layers.get_norm`.
        **kwargs: As of `BaseMaskRCNNHead`.
    """

    _conv_names: list[str]

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        conv_dims: Sequence[int],
        conv_norm: Any = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not conv_dims:
            raise ValueError(
                "MODEL.ROI_MASK_HEAD.NUM_CONV is below 0, but the mask head has at least the "
                "upsampling (conv_dims needs its channels); set it to 0 or more."
            )
        channels = input_shape.channels or 0
        self.conv_norm_relus = add_convolutions(
            self, "mask_fcn", channels, conv_dims[:-1], conv_norm
        )
        self._conv_names = [f"mask_fcn{index + 1}" for index in range(len(conv_dims) - 1)]
        channels = conv_dims[-2] if len(conv_dims) > 1 else channels
        self.deconv = nn.ConvTranspose2d(channels, conv_dims[-1], 2, stride=2)
        self.predictor = nn.Conv2d(conv_dims[-1], num_classes, 1)
        for layer in [*self.conv_norm_relus, self.deconv]:
            c2_msra_fill(layer)
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)  # type: ignore[arg-type]

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec) -> dict[str, Any]:
        """Map config keys to arguments."""
        head = cfg.MODEL.ROI_MASK_HEAD
        return {
            **super().from_config(cfg, input_shape),
            "input_shape": input_shape,
            "num_classes": 1 if head.CLS_AGNOSTIC_MASK else cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "conv_dims": [head.CONV_DIM] * (head.NUM_CONV + 1),
            "conv_norm": head.NORM,
        }

    def layers(self, x: Tensor) -> Tensor:
        """Map (R, C, S, S) to mask logits (R, K or 1, 2S, 2S)."""
        for name, layer in self.named_children():
            if name in self._conv_names:
                x = layer(x)
        return self.predictor(F.relu(self.deconv(x)))

    @torch.jit.unused
    def layers_of_classes(self, x: Tensor, instances: list[Instances]) -> Tensor:
        """Compute the logits of each region's own class alone, some regions at a time."""
        replaced = getattr(self.layers, "__func__", None) is not MaskRCNNConvUpsampleHead.layers
        runs_as_written = not (may_replace_operators() if self.training else is_fusing())
        if replaced or runs_as_written or is_watched(self.predictor):
            return self.layers(x)
        name = "gt_classes" if self.training else "pred_classes"
        classes = torch.cat([one.get(name) for one in instances])
        if self.predictor.out_channels == 1:
            classes = torch.zeros_like(classes)
        if self.training:
            return self._of_classes(x, classes)
        parts = zip(x.split(_REGIONS_AT_ONCE), classes.split(_REGIONS_AT_ONCE), strict=True)
        return torch.cat([self._of_classes(*part) for part in parts])

    def _of_classes(self, x: Tensor, classes: Tensor) -> Tensor:
        for name in self._conv_names:
            x = self.get_submodule(name)(x)
        hidden = self.deconv(x)
        hidden = F.relu(hidden) if is_watched(self.deconv) else hidden.relu_()
        cells = hidden.permute(0, 2, 3, 1).flatten(1, 2)  # (R, h * w, C)
        weight = self.predictor.weight[classes].flatten(1)[:, :, None]  # (R, C, 1)
        logits = torch.bmm(cells, weight.to(cells.dtype))
        if self.predictor.bias is not None:
            logits = logits + self.predictor.bias[classes].to(cells.dtype)[:, None, None]
        return logits.view(len(x), 1, *hidden.shape[2:])


def mask_rcnn_inference(pred_mask_logits: Tensor, pred_instances: list[Instances]) -> None:
    """Add to detections the masks of their own class, in place.

    Args:
        pred_mask_logits: (R, K or 1, h, w) float.
        pred_instances: With ``pred_classes``, R of them in all; they get ``pred_masks``
            (N, 1, h, w), probabilities.
    """
    classes = torch.cat([one.pred_classes for one in pred_instances])
    probs = mask_probabilities(at_least_single(pred_mask_logits), classes)
    counts = [len(one) for one in pred_instances]
    for index, masks in enumerate(probs.split(counts)):
        pred_instances[index].pred_masks = masks


def mask_rcnn_loss(
    pred_mask_logits: Tensor, instances: Sequence[Instances], vis_period: int = 0
) -> Tensor:
    """Compute `mask_loss` as a scalar; ``vis_period`` is accepted, nothing is drawn."""
    return mask_loss(pred_mask_logits, instances)["loss_mask"]


def mask_loss(logits: Tensor, instances: Sequence[Instances]) -> Losses:
    """Compute ``loss_mask``: binary cross entropy of each region's own class (section 3).

    Args:
        logits: (R, K or 1, S, S) float.
        instances: With ``proposal_boxes``, ``gt_classes`` and ``gt_masks``; R of them in all.
    """
    side = logits.shape[-1]
    targets = [
        one.gt_masks.crop_and_resize(one.proposal_boxes.tensor, side).to(logits.device)
        for one in instances
        if len(one)
    ]
    if not targets:
        return Losses({"loss_mask": logits.sum() * 0.0})
    target = torch.cat(targets)  # [R,S,S] bool
    if logits.shape[1] == 1:
        chosen = logits[:, 0]
    else:
        classes = torch.cat([one.gt_classes for one in instances if len(one)])
        chosen = logits[torch.arange(len(logits), device=logits.device), classes]
    loss = F.binary_cross_entropy_with_logits(chosen, target.to(chosen.dtype))
    return Losses({"loss_mask": loss}, mask_metrics(chosen.detach() > 0, target))


def mask_metrics(predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Measure pixel accuracy, false positives and false negatives of masks (R, S, S) bool."""
    num_positive = target.sum()
    return {
        "mask_rcnn/accuracy": (predicted == target).float().mean(),
        "mask_rcnn/false_positive": share(
            (predicted & ~target).sum(), target.numel() - num_positive
        ),
        "mask_rcnn/false_negative": share((~predicted & target).sum(), num_positive),
    }


def build_mask_head(cfg: Any, input_shape: ShapeSpec) -> nn.Module:
    """Build the head that ``MODEL.ROI_MASK_HEAD.NAME`` names."""
    if not cfg.MODEL.ROI_MASK_HEAD.NAME:
        raise ValueError(
            "MODEL.MASK_ON is True, but MODEL.ROI_MASK_HEAD.NAME is empty; name a head, such as "
            "'MaskRCNNConvUpsampleHead', or set MODEL.MASK_ON to False."
        )
    return ROI_MASK_HEAD_REGISTRY.get(cfg.MODEL.ROI_MASK_HEAD.NAME)(cfg, input_shape)

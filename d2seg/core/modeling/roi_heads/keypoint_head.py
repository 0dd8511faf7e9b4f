"""Keypoints of regions (Mask R-CNN, arXiv:1703.06870, section 5)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import Conv2d, ShapeSpec
from d2seg.core.modeling.losses import Losses, LossesOrInstances
from d2seg.core.ops.keypoints import decode_heatmaps
from d2seg.core.runtime.registry import Registry
from d2seg.core.structures import Instances

ROI_KEYPOINT_HEAD_REGISTRY = Registry("ROI_KEYPOINT_HEAD")
"""Classes called with ``(cfg, input_shape)``; see `BaseKeypointRCNNHead`."""


class BaseKeypointRCNNHead(nn.Module):
    """Turns keypoint heat maps, which a subclass computes in ``layers``, into a loss or keypoints.

    Args:
        num_keypoints: K, of each object.
        loss_weight: Weight of ``loss_keypoint``.
        loss_normalizer: ``visible`` divides the loss by the number of visible keypoints in the
            batch; a number, by that for each image.
        score: What the third value of a keypoint is: its ``probability``, or the ``logit`` at its
            peak.
    """

    @configurable
    def __init__(
        self,
        *,
        num_keypoints: int,
        loss_weight: float = 1.0,
        loss_normalizer: float | str = 1.0,
        score: str = "probability",
    ) -> None:
        super().__init__()
        if num_keypoints < 1:
            raise ValueError(
                f"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS is {num_keypoints}, but MODEL.KEYPOINT_ON "
                "needs the number of keypoints of an object, at least 1."
            )
        if isinstance(loss_normalizer, str) and loss_normalizer != "visible":
            raise ValueError(f"loss_normalizer is '{loss_normalizer}', not 'visible' or a number.")
        self.num_keypoints = num_keypoints
        self.loss_weight = loss_weight
        self.loss_normalizer = loss_normalizer
        if score not in ("probability", "logit"):
            raise ValueError(
                f"MODEL.ROI_KEYPOINT_HEAD.SCORE is '{score}', but must be 'probability' or 'logit'."
            )
        self.score_is_logit = score == "logit"

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec) -> dict[str, Any]:
        """Map config keys to arguments."""
        head, regions = cfg.MODEL.ROI_KEYPOINT_HEAD, cfg.MODEL.ROI_HEADS
        # All keypoints of as many objects as one image can have in a batch.
        most = head.NUM_KEYPOINTS * regions.BATCH_SIZE_PER_IMAGE * regions.POSITIVE_FRACTION
        by_visible = head.NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS
        return {
            "num_keypoints": head.NUM_KEYPOINTS,
            "loss_weight": head.LOSS_WEIGHT,
            "loss_normalizer": "visible" if by_visible else most,
            "score": head.get("SCORE", "probability"),
        }

    def forward(self, x: Tensor, instances: list[Instances]) -> LossesOrInstances:
        """Compute the loss in training, the keypoints otherwise.

        Args:
            x: (R, C, S, S) float, pooled regions of all images.
            instances: R of them over all images; in training with ``proposal_boxes`` and
                ``gt_keypoints``, otherwise with ``pred_boxes``.

        Returns:
            In training Losses; otherwise the instances with ``pred_keypoints`` (N, K, 3), x and y
            in pixels and a score, and ``pred_keypoint_heatmaps`` (N, K, h, w) added.
        """
        heatmaps = self.layers(x)
        if self.training:
            return self._losses(heatmaps, instances)
        else:  # TorchScript leaves out branches, not what follows them
            keypoint_rcnn_inference(heatmaps, instances, self.score_is_logit)
            return instances

    def _losses(self, heatmaps: Tensor, instances: list[Instances]) -> Losses:
        normalizer = None
        if not isinstance(self.loss_normalizer, str):
            normalizer = len(instances) * self.loss_normalizer
        loss = keypoint_rcnn_loss(heatmaps, instances, normalizer)
        return Losses({"loss_keypoint": loss * self.loss_weight})

    def layers(self, x: Tensor) -> Tensor:
        """Map (R, C, S, S) to heat maps (R, K, h, w)."""
        raise NotImplementedError(f"{type(self).__name__} must define layers().")


@ROI_KEYPOINT_HEAD_REGISTRY.register()
class KRCNNConvDeconvUpsampleHead(BaseKeypointRCNNHead):
    """3x3 convolutions, a learned upsampling by two and a bilinear one by two.

    Args:
        input_shape: Channels of the pooled regions.
        num_keypoints: K.
        conv_dims: Channels of each convolution.
        **kwargs: As of `BaseKeypointRCNNHead`.
    """

    _conv_names: list[str]

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_keypoints: int,
        conv_dims: Sequence[int],
        **kwargs: Any,
    ) -> None:
        super().__init__(num_keypoints=num_keypoints, **kwargs)
        channels = input_shape.channels or 0
        self.convs: list[nn.Module] = []
        for index, width in enumerate(conv_dims, start=1):
            conv = Conv2d(channels, width, 3, padding=1, activation=nn.ReLU())
            self.add_module(f"conv_fcn{index}", conv)
            self.convs.append(conv)
            channels = width
        self._conv_names = [f"conv_fcn{index + 1}" for index in range(len(conv_dims))]
        self.score_lowres = nn.ConvTranspose2d(channels, num_keypoints, 4, stride=2, padding=1)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec) -> dict[str, Any]:
        """Map config keys to arguments."""
        return {
            **super().from_config(cfg, input_shape),
            "input_shape": input_shape,
            "conv_dims": cfg.MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS,
        }

    def layers(self, x: Tensor) -> Tensor:
        """Map (R, C, S, S) to heat maps (R, K, 4S, 4S)."""
        for name, layer in self.named_children():
            if name in self._conv_names:
                x = layer(x)
        return F.interpolate(
            self.score_lowres(x), scale_factor=2.0, mode="bilinear", align_corners=False
        )


def keypoint_rcnn_loss(
    pred_keypoint_logits: Tensor, instances: Sequence[Instances], normalizer: float | None
) -> Tensor:
    """Compute the cross entropy of heat maps over the cells, for every visible keypoint.

    Args:
        pred_keypoint_logits: (R, K, S, S) float.
        instances: With ``proposal_boxes`` and ``gt_keypoints``; R of them in all.
        normalizer: What the sum is divided by; None for the number of visible keypoints.

    Returns:
        Scalar; 0 without a visible keypoint.
    """
    side = pred_keypoint_logits.shape[2]
    targets, visible = [], []
    for one in instances:
        if len(one):
            _require_keypoints(one.gt_keypoints.tensor.shape[1], pred_keypoint_logits.shape[1])
            cells, valid = one.gt_keypoints.to_heatmap(one.proposal_boxes.tensor, side)
            targets.append(cells.flatten())
            visible.append(valid.flatten())
    if not any(bool(valid.any()) for valid in visible):
        return pred_keypoint_logits.sum() * 0.0
    chosen = torch.nonzero(torch.cat(visible))[:, 0]
    logits = pred_keypoint_logits.flatten(2).flatten(0, 1)  # [R*K,S*S]
    loss = F.cross_entropy(logits[chosen], torch.cat(targets)[chosen], reduction="sum")
    return loss / (len(chosen) if normalizer is None else normalizer)


def _require_keypoints(found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(
            f"Objects are annotated with {found} keypoints, but "
            f"MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS is {expected}; make them equal."
        )


def keypoint_rcnn_inference(
    pred_keypoint_logits: Tensor, pred_instances: list[Instances], score_is_logit: bool = False
) -> None:
    """Add keypoints and their heat maps to detections, in place.

    Args:
        pred_keypoint_logits: (R, K, S, S) float.
        pred_instances: With ``pred_boxes``; R of them in all.
        score_is_logit: The score of a keypoint is the logit at its peak, not its probability.
    """
    boxes = torch.cat([one.pred_boxes.tensor for one in pred_instances])
    pred_keypoint_logits = pred_keypoint_logits.detach()
    columns = [0, 1, 2] if score_is_logit else [0, 1, 3]
    keypoints = decode_heatmaps(pred_keypoint_logits, boxes.detach())[:, :, columns]
    counts = [len(one) for one in pred_instances]
    heatmaps = pred_keypoint_logits.split(counts)
    for index, points in enumerate(keypoints.split(counts)):
        pred_instances[index].pred_keypoints = points
        pred_instances[index].pred_keypoint_heatmaps = heatmaps[index]


def build_keypoint_head(cfg: Any, input_shape: ShapeSpec) -> nn.Module:
    """Build the head that ``MODEL.ROI_KEYPOINT_HEAD.NAME`` names."""
    return ROI_KEYPOINT_HEAD_REGISTRY.get(cfg.MODEL.ROI_KEYPOINT_HEAD.NAME)(cfg, input_shape)

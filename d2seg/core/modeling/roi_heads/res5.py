"""ROI heads that run the last residual stage on every region (ResNet, arXiv:1512.03385)."""

from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.backbone.blocks import BottleneckBlock
from d2seg.core.modeling.backbone.resnet import ResNet, resnet_norm
from d2seg.core.modeling.losses import Losses
from d2seg.core.modeling.poolers import ROIPooler
from d2seg.core.modeling.roi_heads.base import (
    ROI_HEADS_REGISTRY,
    ROIHeads,
    build_pooler,
    require_ground_truth,
    sampling_metrics,
    select_foreground_proposals,
)
from d2seg.core.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from d2seg.core.modeling.roi_heads.mask_head import build_mask_head
from d2seg.core.structures import Boxes, ImageList, Instances


@ROI_HEADS_REGISTRY.register()
class Res5ROIHeads(ROIHeads):
    """Boxes and masks share one pooler and one network, ``res5``, as in the C4 models.

    Source: Mask R-CNN, arXiv:1703.06870, figure 4 left.

    Args:
        in_features: The one feature level to pool from.
        pooler: Pools regions for boxes and masks.
        res5: From pooled regions to features (R, C, S / 2, S / 2).
        box_predictor: From mean features to classes and boxes.
        mask_head: From features to masks; None without masks.
        **kwargs: As of `ROIHeads`.
    """

    box_predictor: Any
    mask_head: Any

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        pooler: ROIPooler,
        res5: nn.Module,
        box_predictor: nn.Module,
        mask_head: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_features = self.box_in_features = self.mask_in_features = in_features
        self.pooler = pooler
        self.res5 = res5
        self.box_predictor = box_predictor
        self.mask_on = mask_head is not None
        if mask_head is not None:
            self.mask_head = mask_head

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        _check(cfg)
        pooler, _ = build_pooler(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        res5, channels = cls._build_res5_block(cfg)
        side = cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION
        arguments = {
            **super().from_config(cfg, input_shape),
            "in_features": list(cfg.MODEL.ROI_HEADS.IN_FEATURES),
            "pooler": pooler,
            "res5": res5,
            "box_predictor": FastRCNNOutputLayers(cfg, ShapeSpec(channels, height=1, width=1)),
        }
        if cfg.MODEL.MASK_ON:
            arguments["mask_head"] = build_mask_head(cfg, ShapeSpec(channels, side, side))
        return arguments

    @classmethod
    def _build_res5_block(cls, cfg: Any) -> tuple[nn.Module, int]:
        """Build ``res5`` and tell its channels; projects override this to change it.

        It is three bottleneck blocks that halve the size, whatever the depth and the dilation of
        the backbone.
        """
        keys = cfg.MODEL.RESNETS
        channels = 8 * keys.RES2_OUT_CHANNELS
        blocks = ResNet.make_stage(
            BottleneckBlock,
            3,
            in_channels=channels // 2,
            out_channels=channels,
            stride_per_block=[2, 1, 1],
            bottleneck_channels=8 * keys.NUM_GROUPS * keys.WIDTH_PER_GROUP,
            num_groups=keys.NUM_GROUPS,
            norm=resnet_norm(keys),
            stride_in_1x1=keys.STRIDE_IN_1X1,
        )
        return nn.Sequential(*blocks), channels

    @property
    def box_pooler(self) -> ROIPooler:
        """The pooler, under the name it has in heads that pool twice."""
        return self.pooler

    @property
    def mask_pooler(self) -> ROIPooler:
        """The pooler, under the name it has in heads that pool twice."""
        return self.pooler

    @property
    def box_head(self) -> nn.Module:
        """The network ``res5``, under the name it has in heads with a network for boxes alone."""
        return self.res5

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], Losses]:
        """Compute losses in training, detections otherwise; see `StandardROIHeads.forward`."""
        if self.training:
            fields = ["gt_boxes", "gt_classes", *(["gt_masks"] if self.mask_on else [])]
            require_ground_truth(targets, fields)
            proposals = self.label_and_sample_proposals(proposals, targets or [])
            return proposals, self.losses(features, proposals)
        return self.inference(features, proposals), Losses()

    def losses(self, features: dict[str, Tensor], proposals: list[Instances]) -> Losses:
        """Compute the losses of sampled proposals, which carry their ground truth."""
        regions = self._region_features(features, [one.proposal_boxes for one in proposals])
        predictions = self.box_predictor(regions.mean(dim=(2, 3)))
        losses = Losses(metrics=sampling_metrics(proposals, self.num_classes))
        losses.add(self.box_predictor.losses(predictions, proposals))
        if self.mask_on:
            foreground, chosen = select_foreground_proposals(proposals, self.num_classes)
            losses.add(self.mask_head(regions[torch.cat(chosen)], foreground))
        return losses

    def inference(self, features: dict[str, Tensor], proposals: list[Instances]) -> list[Instances]:
        """Detect objects: boxes first, then masks for the boxes that remain."""
        regions = self._region_features(features, [one.proposal_boxes for one in proposals])
        predictions = self.box_predictor(regions.mean(dim=(2, 3)))
        detections, _ = self.box_predictor.inference(predictions, proposals)
        return self.forward_with_given_boxes(features, detections)

    def forward_with_given_boxes(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """Add masks to given boxes.

        Args:
            features: Name -> (B, C, H, W).
            instances: For each image, with ``pred_boxes`` and ``pred_classes``.
        """
        if not self.mask_on:
            return instances
        regions = self._region_features(features, [one.pred_boxes for one in instances])
        return self.mask_head(regions, instances)

    def _region_features(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        return self._shared_roi_transform([features[name] for name in self.in_features], boxes)

    def _shared_roi_transform(self, features: list[Tensor], boxes: list[Boxes]) -> Tensor:
        # Under detectron2's name: scripts take the features of regions from here.
        return self.res5(self.pooler(features, boxes))


def _check(cfg: Any) -> None:
    """Refuse settings that these heads cannot honour."""
    names = cfg.MODEL.ROI_HEADS.IN_FEATURES
    if len(names) != 1:
        raise ValueError(
            "MODEL.ROI_HEADS.NAME 'Res5ROIHeads' pools from one feature level, but "
            f"MODEL.ROI_HEADS.IN_FEATURES is {list(names)}."
        )
    if cfg.MODEL.KEYPOINT_ON:
        raise ValueError(
            "MODEL.KEYPOINT_ON is True, but MODEL.ROI_HEADS.NAME 'Res5ROIHeads' has no keypoint "
            "head; use 'StandardROIHeads'."
        )
    if cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE[-1]:
        raise ValueError(
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE asks for a deformable res5, which "
            "MODEL.ROI_HEADS.NAME 'Res5ROIHeads' does not have; set its last value to False."
        )

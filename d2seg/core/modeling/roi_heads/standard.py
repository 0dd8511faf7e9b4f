"""ROI heads where boxes, masks and keypoints each pool from the features for themselves."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.losses import Losses, LossesOrInstances
from d2seg.core.modeling.poolers import ROIPooler
from d2seg.core.modeling.roi_heads.base import (
    ROI_HEADS_REGISTRY,
    ROIHeads,
    build_optional_pooler,
    build_pooler,
    require_ground_truth,
    sampling_metrics,
    select_foreground_proposals,
    select_proposals_with_visible_keypoints,
)
from d2seg.core.modeling.roi_heads.box_head import build_box_head
from d2seg.core.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from d2seg.core.modeling.roi_heads.keypoint_head import build_keypoint_head
from d2seg.core.modeling.roi_heads.mask_head import build_mask_head
from d2seg.core.structures import Boxes, ImageList, Instances


@ROI_HEADS_REGISTRY.register()
class StandardROIHeads(ROIHeads):
    """Box head, optional mask and keypoint heads (Mask R-CNN, arXiv:1703.06870, figure 4 right).

    Args:
        box_in_features: Feature levels the box head pools from, finest first.
        box_pooler: Pools regions for the box head.
        box_head: From pooled regions to box features.
        box_predictor: From box features to classes and boxes.
        mask_in_features: Likewise for masks; None without masks.
        mask_pooler: Likewise; None to give the mask head the features themselves, by name.
        mask_head: From pooled regions to masks.
        keypoint_in_features: Likewise for keypoints; None without keypoints.
        keypoint_pooler: Likewise.
        keypoint_head: From pooled regions to keypoints.
        train_on_pred_boxes: Train the mask head on predicted boxes instead of proposals.
        **kwargs: As of `ROIHeads`.
    """

    # Constants for TorchScript, which then leaves out the heads that are off.
    __constants__ = ("mask_on", "keypoint_on")
    __jit_unused_properties__ = ("ground_truth_fields",)

    if TYPE_CHECKING:
        box_predictor: Any
        mask_pooler: Any
        mask_head: Any
        keypoint_pooler: Any
        keypoint_head: Any

    @configurable
    def __init__(
        self,
        *,
        box_in_features: list[str],
        box_pooler: ROIPooler,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_in_features: list[str] | None = None,
        mask_pooler: ROIPooler | None = None,
        mask_head: nn.Module | None = None,
        keypoint_in_features: list[str] | None = None,
        keypoint_pooler: ROIPooler | None = None,
        keypoint_head: nn.Module | None = None,
        train_on_pred_boxes: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_features = self.box_in_features = box_in_features
        self.box_pooler = box_pooler
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.mask_on = mask_in_features is not None
        self.mask_in_features = mask_in_features or []
        self.mask_pooler = mask_pooler
        self.mask_head = mask_head
        self.keypoint_on = keypoint_in_features is not None
        self.keypoint_in_features = keypoint_in_features or []
        self.keypoint_pooler = keypoint_pooler
        self.keypoint_head = keypoint_head
        self.train_on_pred_boxes = train_on_pred_boxes

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        return {
            **super().from_config(cfg, input_shape),
            **cls._init_box_head(cfg, input_shape),
            **cls._init_mask_head(cfg, input_shape),
            **cls._init_keypoint_head(cfg, input_shape),
            "train_on_pred_boxes": cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES,
        }

    @classmethod
    def _init_box_head(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        pooler, shape = build_pooler(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        head = build_box_head(cfg, shape)
        return {
            "box_in_features": list(cfg.MODEL.ROI_HEADS.IN_FEATURES),
            "box_pooler": pooler,
            "box_head": head,
            "box_predictor": FastRCNNOutputLayers(cfg, head.output_shape),
        }

    @classmethod
    def _init_mask_head(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        if not cfg.MODEL.MASK_ON:
            return {}
        pooler, shape = build_optional_pooler(cfg, cfg.MODEL.ROI_MASK_HEAD, input_shape)
        return {
            "mask_in_features": list(cfg.MODEL.ROI_HEADS.IN_FEATURES),
            "mask_pooler": pooler,
            "mask_head": build_mask_head(cfg, shape),
        }

    @classmethod
    def _init_keypoint_head(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        if not cfg.MODEL.KEYPOINT_ON:
            return {}
        pooler, shape = build_optional_pooler(cfg, cfg.MODEL.ROI_KEYPOINT_HEAD, input_shape)
        return {
            "keypoint_in_features": list(cfg.MODEL.ROI_HEADS.IN_FEATURES),
            "keypoint_pooler": pooler,
            "keypoint_head": build_keypoint_head(cfg, shape),
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Compute losses in training, detections otherwise.

        Args:
            images: Not read; part of detectron2's signature.
            features: Name -> (B, C, H_l, W_l).
            proposals: For each image, with ``proposal_boxes``.
            targets: For training, with ``gt_boxes``, ``gt_classes`` and, for the heads there are,
                ``gt_masks`` and ``gt_keypoints``.

        Returns:
            In training the sampled proposals and the losses; otherwise detections with
            ``pred_boxes``, ``scores``, ``pred_classes``, ``pred_masks`` (N, 1, h, w) probabilities
            and ``pred_keypoints`` (N, K, 3), and no losses.
        """
        if self.training:
            require_ground_truth(targets, self.ground_truth_fields)
            proposals = self.label_and_sample_proposals(proposals, targets or [])
            return proposals, self.losses(features, proposals, targets or [])
        else:  # TorchScript leaves out branches, not what follows them
            return self.inference(features, proposals), {}

    @property
    def ground_truth_fields(self) -> list[str]:
        """What the targets must have in training."""
        optional = {"gt_masks": self.mask_on, "gt_keypoints": self.keypoint_on}
        return ["gt_boxes", "gt_classes", *(name for name, needed in optional.items() if needed)]

    def losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances],
    ) -> Losses:
        """Compute the losses of sampled proposals, which carry their ground truth."""
        losses = Losses(metrics=sampling_metrics(proposals, self.num_classes))
        losses.add(self._box_losses(features, proposals, targets))
        losses.add(self._forward_mask(features, proposals))
        losses.add(self._forward_keypoint(features, proposals))
        return losses

    def inference(self, features: dict[str, Tensor], proposals: list[Instances]) -> list[Instances]:
        """Detect objects: boxes first, then masks and keypoints for the boxes that remain."""
        detections = self._forward_box(features, proposals)
        return self.forward_with_given_boxes(features, detections)

    def forward_with_given_boxes(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """Add masks and keypoints to given boxes.

        Args:
            features: Name -> (B, C, H_l, W_l).
            instances: For each image, with ``pred_boxes`` and ``pred_classes``.
        """
        instances = self._forward_mask(features, instances)
        return self._forward_keypoint(features, instances)

    def _box_losses(
        self, features: dict[str, Tensor], proposals: list[Instances], targets: list[Instances]
    ) -> Any:
        # The signatures of the three below are detectron2's: projects override them.
        return self._forward_box(features, proposals)

    def _forward_box(
        self, features: dict[str, Tensor], proposals: list[Instances]
    ) -> LossesOrInstances:
        pooled = self.box_pooler(
            [features[name] for name in self.box_in_features],
            [one.proposal_boxes for one in proposals],
        )
        predictions = self.box_predictor(self.box_head(pooled))
        if self.training:
            losses = self.box_predictor.losses(predictions, proposals)
            if self.train_on_pred_boxes:
                self._replace_boxes(predictions, proposals)
            return losses
        else:  # as in forward
            return self.box_predictor.inference(predictions, proposals)[0]

    @torch.no_grad()
    def _replace_boxes(self, predictions: Any, proposals: list[Instances]) -> None:
        predicted = self.box_predictor.predict_boxes_for_gt_classes(predictions, proposals)
        for one, boxes in zip(proposals, predicted, strict=True):
            one.proposal_boxes = Boxes(boxes)

    def _forward_mask(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> LossesOrInstances:
        if not self.mask_on:
            return Losses() if self.training else instances
        else:  # as in forward
            if self.training:
                instances, _ = select_foreground_proposals(instances, self.num_classes)
                boxes = [one.proposal_boxes for one in instances]
            else:
                boxes = [one.pred_boxes for one in instances]
            names = self.mask_in_features
            if self.mask_pooler is None:
                return self.mask_head({name: features[name] for name in names}, instances)
            pooled = self.mask_pooler([features[name] for name in names], boxes)
            return self.mask_head(pooled, instances)

    def _forward_keypoint(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> LossesOrInstances:
        if not self.keypoint_on:
            return Losses() if self.training else instances
        else:  # as in forward
            if self.training:
                instances, _ = select_foreground_proposals(instances, self.num_classes)
                instances = select_proposals_with_visible_keypoints(instances)
                boxes = [one.proposal_boxes for one in instances]
            else:
                boxes = [one.pred_boxes for one in instances]
            names = self.keypoint_in_features
            if self.keypoint_pooler is None:
                return self.keypoint_head({name: features[name] for name in names}, instances)
            pooled = self.keypoint_pooler([features[name] for name in names], boxes)
            return self.keypoint_head(pooled, instances)

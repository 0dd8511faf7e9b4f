"""Classes and rotated boxes of rotated regions (arXiv:1703.01086)."""

from typing import Any

import torch
from torch import Tensor

from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.box_regression import Box2BoxTransformRotated
from d2seg.core.modeling.roi_heads.base import ROI_HEADS_REGISTRY, build_pooler
from d2seg.core.modeling.roi_heads.box_head import build_box_head
from d2seg.core.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from d2seg.core.modeling.roi_heads.standard import StandardROIHeads
from d2seg.core.ops.rotated import batched_nms_rotated
from d2seg.core.structures import Instances, RotatedBoxes, pairwise_iou_rotated


class RotatedFastRCNNOutputLayers(FastRCNNOutputLayers):
    """`FastRCNNOutputLayers` for rotated boxes; arguments as there."""

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec) -> dict[str, Any]:
        """Map config keys to arguments."""
        weights = cfg.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS
        if len(weights) != 5:
            raise ValueError(
                f"MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS is {tuple(weights)}, but "
                "MODEL.ROI_HEADS.NAME 'RROIHeads' needs five, the last for the angle."
            )
        return {
            **super().from_config(cfg, input_shape),
            "box2box_transform": Box2BoxTransformRotated(weights),
        }

    def inference(
        self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]
    ) -> tuple[list[Instances], list[Tensor]]:
        """Turn predictions into the detections of each image; ``pred_boxes`` are RotatedBoxes."""
        found = [
            self._detect(boxes, probs, proposal.image_size)
            for boxes, probs, proposal in zip(
                self.predict_boxes(predictions, proposals),
                self.predict_probs(predictions, proposals),
                proposals,
                strict=True,
            )
        ]
        return [one for one, _ in found], [rows for _, rows in found]

    def _detect(
        self, boxes: Tensor, probs: Tensor, size_hw: tuple[int, int]
    ) -> tuple[Instances, Tensor]:
        finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(probs).all(dim=1)
        passing = (probs[:, :-1] > self.test_score_thresh) & finite[:, None]
        rows, classes = torch.nonzero(passing).unbind(dim=1)
        grouped = boxes.view(len(boxes), -1, 5)
        columns = classes if grouped.shape[1] > 1 else torch.zeros_like(classes)
        chosen = RotatedBoxes(grouped[rows, columns])
        chosen.clip(size_hw)
        scores = probs[rows, classes]
        keep = batched_nms_rotated(chosen.tensor, scores, classes, self.test_nms_thresh)
        if self.test_topk_per_image >= 0:
            keep = keep[: self.test_topk_per_image]
        fields = {
            "pred_boxes": chosen[keep],
            "scores": scores[keep],
            "pred_classes": classes[keep],
        }
        return Instances(size_hw, **fields), rows[keep]


@ROI_HEADS_REGISTRY.register()
class RROIHeads(StandardROIHeads):
    """Box head on rotated regions; there are no masks or keypoints."""

    pairwise_iou: Any = staticmethod(pairwise_iou_rotated)

    @classmethod
    def _init_box_head(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        for key in ("MASK_ON", "KEYPOINT_ON"):
            if cfg.MODEL[key]:
                raise ValueError(
                    f"MODEL.{key} is True, but MODEL.ROI_HEADS.NAME 'RROIHeads' predicts boxes "
                    "only; set it to False."
                )
        pooler_type = cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE
        if pooler_type != "ROIAlignRotated":
            raise ValueError(
                f"MODEL.ROI_BOX_HEAD.POOLER_TYPE is '{pooler_type}', but MODEL.ROI_HEADS.NAME "
                "'RROIHeads' needs 'ROIAlignRotated'."
            )
        pooler, shape = build_pooler(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        head = build_box_head(cfg, shape)
        return {
            "box_in_features": list(cfg.MODEL.ROI_HEADS.IN_FEATURES),
            "box_pooler": pooler,
            "box_head": head,
            "box_predictor": RotatedFastRCNNOutputLayers(cfg, head.output_shape),
        }

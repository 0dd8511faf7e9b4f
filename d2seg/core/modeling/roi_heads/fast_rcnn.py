"""Classes and boxes of regions (Fast R-CNN, arXiv:1504.08083).

Shapes: R regions of all images together, K classes; class K is background.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import ShapeSpec, cross_entropy
from d2seg.core.modeling.box_regression import Box2BoxTransform
from d2seg.core.modeling.losses import Losses, box_regression_loss, check_box_loss_type, share
from d2seg.core.ops.detections import select_detections
from d2seg.core.structures import Boxes, Instances


class FastRCNNOutputLayers(nn.Module):
    """Predicts class logits and box deltas, and turns them into losses or detections.

    Args:
        input_shape: Of the box features; they are flattened.
        box2box_transform: Encodes boxes relative to proposals.
        num_classes: K, without background.
        test_score_thresh: Detections score above this.
        test_nms_thresh: IoU above which the lower-scored detection of a class is dropped.
        test_topk_per_image: At most this many detections of an image; negative for all.
        cls_agnostic_bbox_reg: Predict one box for all classes instead of one for each.
        smooth_l1_beta: See `d2seg.core.modeling.losses.box_regression_loss`.
        box_reg_loss_type: Likewise.
        loss_weight: Weight of ``loss_cls`` and ``loss_box_reg``.
        use_sigmoid_ce: Classes are independent (sigmoid) instead of exclusive (softmax).
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        box2box_transform: Box2BoxTransform,
        num_classes: int,
        test_score_thresh: float = 0.0,
        test_nms_thresh: float = 0.5,
        test_topk_per_image: int = 100,
        cls_agnostic_bbox_reg: bool = False,
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = "smooth_l1",
        loss_weight: dict[str, float] | float = 1.0,
        use_sigmoid_ce: bool = False,
    ) -> None:
        super().__init__()
        check_box_loss_type("MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", box_reg_loss_type)
        features = flat_size(input_shape)
        self.num_classes = num_classes
        self.cls_score = nn.Linear(features, num_classes + 1)
        self.bbox_pred = nn.Linear(features, 4 if cls_agnostic_bbox_reg else 4 * num_classes)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        nn.init.zeros_(self.cls_score.bias)
        nn.init.zeros_(self.bbox_pred.bias)
        self.box2box_transform = box2box_transform
        self.test_score_thresh = test_score_thresh
        self.test_nms_thresh = test_nms_thresh
        self.test_topk_per_image = test_topk_per_image
        self.smooth_l1_beta = smooth_l1_beta
        self.box_reg_loss_type = box_reg_loss_type
        self.loss_weight = loss_weight
        self.use_sigmoid_ce = use_sigmoid_ce

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec) -> dict[str, Any]:
        """Map config keys to arguments."""
        head = cfg.MODEL.ROI_BOX_HEAD
        if head.USE_FED_LOSS:
            raise ValueError(
                "MODEL.ROI_BOX_HEAD.USE_FED_LOSS is True, but the embedded framework does not have "
                "the federated loss yet; set it to False."
            )
        return {
            "input_shape": input_shape,
            "box2box_transform": Box2BoxTransform(head.BBOX_REG_WEIGHTS),
            "num_classes": cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "test_score_thresh": cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST,
            "test_nms_thresh": cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST,
            "test_topk_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "cls_agnostic_bbox_reg": head.CLS_AGNOSTIC_BBOX_REG,
            "smooth_l1_beta": head.SMOOTH_L1_BETA,
            "box_reg_loss_type": head.BBOX_REG_LOSS_TYPE,
            "loss_weight": {"loss_box_reg": head.BBOX_REG_LOSS_WEIGHT},
            "use_sigmoid_ce": head.USE_SIGMOID_CE,
        }

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map box features (R, ...) to class logits (R, K + 1) and deltas (R, 4K) or (R, 4)."""
        x = x.flatten(1)
        return self.cls_score(x), self.bbox_pred(x)

    def losses(self, predictions: tuple[Tensor, Tensor], proposals: Sequence[Instances]) -> Losses:
        """Compute ``loss_cls`` and ``loss_box_reg``.

        Args:
            predictions: What `forward` returned for the proposals of all images.
            proposals: With ``proposal_boxes``, ``gt_classes`` and, for foreground, ``gt_boxes``.
        """
        logits, deltas = predictions
        classes = torch.cat([p.gt_classes for p in proposals])
        losses = {
            "loss_cls": self._classification_loss(logits, classes),
            "loss_box_reg": self._box_loss(deltas, classes, proposals),
        }
        metrics = classification_metrics(logits.detach(), classes, self.num_classes)
        return Losses(losses, metrics).weighted(self.loss_weight)

    def inference(
        self, predictions: tuple[Tensor, Tensor], proposals: Sequence[Instances]
    ) -> tuple[list[Instances], list[Tensor]]:
        """Turn predictions into the detections of each image.

        Returns:
            For each image Instances with ``pred_boxes``, ``scores`` and ``pred_classes`` by falling
            score, and (N,) int64, the proposal each of them came from.
        """
        results, kept = [], []
        boxes_of_images = self.predict_boxes(predictions, proposals)
        probs_of_images = self.predict_probs(predictions, proposals)
        for boxes, probs, proposal in zip(boxes_of_images, probs_of_images, proposals, strict=True):
            pred_boxes, scores, classes, rows = select_detections(
                boxes,
                probs,
                proposal.image_size,
                self.test_score_thresh,
                self.test_nms_thresh,
                self.test_topk_per_image,
            )
            results.append(
                Instances(
                    proposal.image_size,
                    pred_boxes=Boxes(pred_boxes),
                    scores=scores,
                    pred_classes=classes,
                )
            )
            kept.append(rows)
        return results, kept

    def predict_boxes(
        self, predictions: tuple[Tensor, Tensor], proposals: Sequence[Instances]
    ) -> list[Tensor]:
        """Decode the boxes of all classes: for each image (R_i, 4K) or (R_i, 4), XYXY pixels."""
        boxes = torch.cat([p.proposal_boxes.tensor for p in proposals])
        decoded = self.box2box_transform.apply_deltas(predictions[1], boxes)
        return list(decoded.split([len(p) for p in proposals]))

    def predict_boxes_for_gt_classes(
        self, predictions: tuple[Tensor, Tensor], proposals: Sequence[Instances]
    ) -> list[Tensor]:
        """Decode the box of each proposal's ground-truth class: for each image (R_i, 4)."""
        decoded = torch.cat(self.predict_boxes(predictions, proposals))
        classes = torch.cat([p.gt_classes for p in proposals])
        # Background has no box of its own; any class's serves, as nothing is trained on it.
        chosen = self._of_class(decoded, classes.clamp(max=self.num_classes - 1))
        return list(chosen.split([len(p) for p in proposals]))

    def predict_probs(
        self, predictions: tuple[Tensor, Tensor], proposals: Sequence[Instances]
    ) -> list[Tensor]:
        """Return the class probabilities of each image: (R_i, K + 1) in [0, 1]."""
        logits = predictions[0]
        probs = logits.sigmoid() if self.use_sigmoid_ce else F.softmax(logits, dim=1)
        return list(probs.split([len(p) for p in proposals]))

    def _of_class(self, per_class: Tensor, classes: Tensor) -> Tensor:
        """Pick from (R, 4K) or (R, 4) the four values of each region's class: (R, 4)."""
        grouped = per_class.view(len(per_class), per_class.shape[1] // 4, 4)
        if grouped.shape[1] == 1:
            return grouped[:, 0]
        return grouped[torch.arange(len(classes), device=classes.device), classes]

    def _classification_loss(self, logits: Tensor, classes: Tensor) -> Tensor:
        if not self.use_sigmoid_ce:
            return cross_entropy(logits, classes)
        if classes.numel() == 0:
            return logits.sum() * 0.0
        # Background is the absence of every class: its column is not trained.
        target = F.one_hot(classes, self.num_classes + 1)[:, :-1].to(logits.dtype)
        loss = F.binary_cross_entropy_with_logits(logits[:, :-1], target, reduction="sum")
        return loss / len(classes)

    def _box_loss(self, deltas: Tensor, classes: Tensor, proposals: Sequence[Instances]) -> Tensor:
        foreground = torch.nonzero((classes >= 0) & (classes < self.num_classes))[:, 0]
        if foreground.numel() == 0:
            return deltas.sum() * 0.0
        source = torch.cat([p.proposal_boxes.tensor for p in proposals])[foreground]
        # Proposals of an image without objects carry no gt_boxes; none is foreground.
        matched = [p.gt_boxes if p.has("gt_boxes") else p.proposal_boxes for p in proposals]
        target = torch.cat([boxes.tensor for boxes in matched])[foreground]
        chosen = self._of_class(deltas[foreground], classes[foreground])
        loss = box_regression_loss(
            chosen,
            self.box2box_transform.apply_deltas(chosen, source),
            self.box2box_transform.get_deltas(source, target),
            target,
            self.box_reg_loss_type,
            self.smooth_l1_beta,
        )
        # Divided by all regions, not by foreground: each object then counts the same, however many
        # of its regions were drawn (Fast R-CNN, section 2.3).
        return loss / max(classes.numel(), 1)


def flat_size(shape: ShapeSpec) -> int:
    """Count the values of one region's features."""
    return (shape.channels or 0) * (shape.height or 1) * (shape.width or 1)


def classification_metrics(logits: Tensor, classes: Tensor, num_classes: int) -> dict[str, Tensor]:
    """Measure accuracy over all, over foreground, and the share of foreground called background.

    Args:
        logits: (R, K + 1) float.
        classes: (R,) int64 in [0, K]; K is background.
        num_classes: K.
    """
    predicted = logits.argmax(dim=1)
    correct = predicted == classes
    foreground = (classes >= 0) & (classes < num_classes)
    count = foreground.sum()
    return {
        "fast_rcnn/cls_accuracy": share(correct.sum(), torch.as_tensor(classes.numel())),
        "fast_rcnn/fg_cls_accuracy": share((correct & foreground).sum(), count),
        "fast_rcnn/false_negative": share(((predicted == num_classes) & foreground).sum(), count),
    }

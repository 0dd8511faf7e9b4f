"""Classes and boxes of regions (Fast R-CNN, arXiv:1504.08083).

Shapes: R regions of all images together, K classes; class K is background.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import Linear, ShapeSpec, cross_entropy
from d2seg.core.modeling.box_regression import Box2BoxTransform, check_box_values
from d2seg.core.modeling.losses import Losses, box_regression_loss, check_box_loss_type, share
from d2seg.core.ops.detections import select_detections
from d2seg.core.ops.precision import at_least_single
from d2seg.core.runtime.catalog import get_fed_loss_cls_weights
from d2seg.core.structures import Boxes, Instances


class FastRCNNOutputLayers(nn.Module):
    """Predicts class logits and box deltas, and turns them into losses or detections.

    Args:
        input_shape: Of the box features, which are flattened; or how many values they have.
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
        use_fed_loss: Train, in each batch, only the classes in it and some that are drawn
            (federated loss, arXiv:2103.07461, section 5.1); needs ``use_sigmoid_ce``.
        get_fed_loss_cls_weights: Returns (K,) float, how likely each class is drawn; called for
            the first training loss. None for all alike.
        fed_loss_num_classes: How many classes are trained in a batch, those in it included.
        test_min_side: Detections are at least this wide and high, in pixels of the network input.
    """

    box2box_transform: Box2BoxTransform
    fed_loss_cls_weights: Tensor

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec | int,
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
        use_fed_loss: bool = False,
        get_fed_loss_cls_weights: Callable[[], Tensor] | None = None,
        fed_loss_num_classes: int = 50,
        test_min_side: float = 0.0,
    ) -> None:
        super().__init__()
        check_box_loss_type("MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", box_reg_loss_type)
        check_box_values("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", box2box_transform)
        features = flat_size(input_shape)
        self.num_classes = num_classes
        self.box_dim = len(box2box_transform.weights)
        self.cls_score = Linear(features, num_classes + 1)
        self.bbox_pred = Linear(
            features, self.box_dim if cls_agnostic_bbox_reg else self.box_dim * num_classes
        )
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        nn.init.zeros_(self.cls_score.bias)
        nn.init.zeros_(self.bbox_pred.bias)
        self.box2box_transform = box2box_transform
        self.test_score_thresh = test_score_thresh
        self.test_nms_thresh = test_nms_thresh
        self.test_topk_per_image = test_topk_per_image
        self.test_min_side = test_min_side
        self.smooth_l1_beta = smooth_l1_beta
        self.box_reg_loss_type = box_reg_loss_type
        if isinstance(loss_weight, int | float):
            loss_weight = {"loss_cls": loss_weight, "loss_box_reg": loss_weight}
        self.loss_weight = loss_weight
        self.use_sigmoid_ce = use_sigmoid_ce
        self.use_fed_loss = use_fed_loss
        self.fed_loss_num_classes = fed_loss_num_classes
        if use_fed_loss:
            if not use_sigmoid_ce:
                raise ValueError(
                    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS is True, but the federated loss is of "
                    "independent classes; set MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE to True."
                )
            # Zeros until the first loss: models are built, and may run, before their data is there.
            self.register_buffer("fed_loss_cls_weights", torch.zeros(num_classes))
            self._get_fed_loss_cls_weights = get_fed_loss_cls_weights
            self._fed_loss_weights_known = False

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec) -> dict[str, Any]:
        """Map config keys to arguments."""
        head = cfg.MODEL.ROI_BOX_HEAD
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
            "use_fed_loss": head.USE_FED_LOSS,
            # Not a lambda, which could not be pickled with the model.
            "get_fed_loss_cls_weights": functools.partial(
                get_fed_loss_cls_weights, cfg.DATASETS.TRAIN, head.FED_LOSS_FREQ_WEIGHT_POWER
            ),
            "fed_loss_num_classes": head.FED_LOSS_NUM_CLASSES,
            "test_min_side": cfg.MODEL.ROI_HEADS.get("MIN_SIDE_TEST", 0.0),
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
        none = torch.empty(0, dtype=torch.int64, device=logits.device)
        classes = torch.cat([none, *(p.gt_classes for p in proposals)])
        classify = self.sigmoid_cross_entropy_loss if self.use_sigmoid_ce else cross_entropy
        losses = {
            "loss_cls": classify(logits, classes),
            "loss_box_reg": self.box_reg_loss(
                *self._matched_boxes(proposals, deltas), deltas, classes
            ),
        }
        metrics = classification_metrics(logits.detach(), classes, self.num_classes)
        return Losses(losses, metrics).weighted(self.loss_weight)

    def inference(
        self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]
    ) -> tuple[list[Instances], list[Tensor]]:
        """Turn predictions into the detections of each image.

        Returns:
            For each image Instances with ``pred_boxes``, ``scores`` and ``pred_classes`` by falling
            score, and (N,) int64, the proposal each of them came from.
        """
        return fast_rcnn_inference(
            self.predict_boxes(predictions, proposals),
            self.predict_probs(predictions, proposals),
            [proposal.image_size for proposal in proposals],
            self.test_score_thresh,
            self.test_nms_thresh,
            self.test_topk_per_image,
            self.test_min_side,
        )

    def predict_boxes(
        self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]
    ) -> list[Tensor]:
        """Decode the boxes of all classes: for each image (R_i, 4K) or (R_i, 4), XYXY pixels."""
        if len(proposals) == 0:
            return []
        boxes = torch.cat([p.proposal_boxes.tensor for p in proposals])
        decoded = self.box2box_transform.apply_deltas(predictions[1], boxes)
        return list(decoded.split([len(p) for p in proposals]))

    def predict_boxes_for_gt_classes(
        self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]
    ) -> list[Tensor]:
        """Decode the box of each proposal's ground-truth class: for each image (R_i, 4)."""
        decoded = torch.cat(self.predict_boxes(predictions, proposals))
        classes = torch.cat([p.gt_classes for p in proposals])
        # Background has no box of its own; any class's serves, as nothing is trained on it.
        chosen = self._of_class(decoded, classes.clamp(max=self.num_classes - 1))
        return list(chosen.split([len(p) for p in proposals]))

    def predict_probs(
        self, predictions: tuple[Tensor, Tensor], proposals: list[Instances]
    ) -> list[Tensor]:
        """Return the class probabilities of each image: (R_i, K + 1) in [0, 1]."""
        logits = at_least_single(predictions[0])
        if len(proposals) == 0:
            return []
        probs = logits.sigmoid() if self.use_sigmoid_ce else F.softmax(logits, dim=1)
        return list(probs.split([len(p) for p in proposals]))

    def _of_class(self, per_class: Tensor, classes: Tensor) -> Tensor:
        """Pick from (R, 4K) or (R, 4) the four values of each region's class: (R, 4)."""
        box_dim = self.box_dim
        grouped = per_class.view(len(per_class), per_class.shape[1] // box_dim, box_dim)
        if grouped.shape[1] == 1:
            return grouped[:, 0]
        return grouped[torch.arange(len(classes), device=classes.device), classes]

    def sigmoid_cross_entropy_loss(self, pred_class_logits: Tensor, gt_classes: Tensor) -> Tensor:
        """Compute the loss of independent classes, summed over them, as a mean over the regions.

        Args:
            pred_class_logits: (R, K + 1) float; the last column is not read.
            gt_classes: (R,) int64 in [0, K]; K is background.
        """
        if gt_classes.numel() == 0:
            return pred_class_logits.sum() * 0.0
        logits = pred_class_logits[:, :-1]
        # Background is the absence of every class: its column is not trained.
        target = F.one_hot(gt_classes, self.num_classes + 1)[:, :-1].to(logits.dtype)
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if self.use_fed_loss:
            trained = self.get_fed_loss_classes(
                gt_classes, self.fed_loss_num_classes, self.num_classes, self._fed_loss_weights()
            )
            loss = loss[:, trained[trained < self.num_classes]]
        return loss.sum() / len(gt_classes)

    def _fed_loss_weights(self) -> Tensor:
        """Return ``fed_loss_cls_weights``, filled at the first call unless a checkpoint did."""
        if not self._fed_loss_weights_known and not bool(self.fed_loss_cls_weights.any()):
            weights = torch.ones(self.num_classes)
            if self._get_fed_loss_cls_weights is not None:
                weights = self._get_fed_loss_cls_weights()
            if weights.shape != (self.num_classes,):
                raise ValueError(
                    f"The federated loss got weights of shape {tuple(weights.shape)} for "
                    f"{self.num_classes} classes; MODEL.ROI_HEADS.NUM_CLASSES must be the number "
                    "of classes that the first data set of DATASETS.TRAIN counts."
                )
            self.fed_loss_cls_weights.copy_(weights)
        self._fed_loss_weights_known = True
        return self.fed_loss_cls_weights

    @staticmethod
    def get_fed_loss_classes(
        gt_classes: Tensor, num_fed_loss_classes: int, num_classes: int, weight: Tensor | None
    ) -> Tensor:
        """Choose the classes to train in a batch: those in it, and others at random.

        Args:
            gt_classes: (R,) int64 in [0, K]; K is background.
            num_fed_loss_classes: How many to choose, if the batch does not hold more by itself.
            num_classes: K.
            weight: (K,) float, how likely each class is drawn; None for all alike.

        Returns:
            (C,) int64; K is among them where it is in the batch.
        """
        present = torch.unique(gt_classes)
        chances = torch.ones(num_classes + 1, device=gt_classes.device)
        if weight is not None:
            chances[:num_classes] = weight.to(chances)
        chances[num_classes] = 0.0
        chances[present] = 0.0
        missing = min(num_fed_loss_classes - len(present), int((chances > 0).sum()))
        if missing <= 0:
            return present
        return torch.cat([present, torch.multinomial(chances, missing)])

    def box_reg_loss(
        self, proposal_boxes: Tensor, gt_boxes: Tensor, pred_deltas: Tensor, gt_classes: Tensor
    ) -> Tensor:
        """Compute the box loss of the regions that match an object, divided by all regions.

        Args:
            proposal_boxes: (R, 4) float.
            gt_boxes: (R, 4) float; rows of background are not read.
            pred_deltas: (R, 4K) or (R, 4) float.
            gt_classes: (R,) int64 in [0, K]; K is background.
        """
        foreground = torch.nonzero((gt_classes >= 0) & (gt_classes < self.num_classes))[:, 0]
        if foreground.numel() == 0:
            return pred_deltas.sum() * 0.0
        source, target = proposal_boxes[foreground], gt_boxes[foreground]
        chosen = self._of_class(pred_deltas[foreground], gt_classes[foreground])
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
        return loss / gt_classes.numel()

    def _matched_boxes(
        self, proposals: Sequence[Instances], deltas: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the boxes of all proposals and those of their objects, (R, 4) each."""
        none = deltas.new_zeros(0, self.box_dim)
        # Proposals of an image without objects carry no gt_boxes; none is foreground.
        matched = [p.gt_boxes if p.has("gt_boxes") else p.proposal_boxes for p in proposals]
        source = torch.cat([none, *(p.proposal_boxes.tensor for p in proposals)])
        return source, torch.cat([none, *(boxes.tensor for boxes in matched)])


def fast_rcnn_inference(
    boxes: list[Tensor],
    scores: list[Tensor],
    image_shapes: list[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
    min_side: float = 0.0,
) -> tuple[list[Instances], list[Tensor]]:
    """Pick the detections of each image, see `d2seg.core.ops.detections.select_detections`.

    Args:
        boxes: For each image (R_i, 4K) or (R_i, 4) float, XYXY pixels.
        scores: For each image (R_i, K + 1) float in [0, 1]; the last column is background.
        image_shapes: Height and width of each image.
        score_thresh: Scores must exceed this.
        nms_thresh: IoU above which the lower-scored box of the same class is dropped.
        topk_per_image: At most this many detections of an image; negative for all.
        min_side: Detections are at least this wide and high, in pixels.

    Returns:
        For each image Instances with ``pred_boxes``, ``scores`` and ``pred_classes`` by falling
        score, and (N,) int64, the region each of them came from.
    """
    results: list[Instances] = []
    kept: list[Tensor] = []
    for index, size_hw in enumerate(image_shapes):
        pred_boxes, pred_scores, classes, rows = select_detections(
            boxes[index],
            scores[index],
            size_hw,
            score_thresh,
            nms_thresh,
            topk_per_image,
            min_side=min_side,
        )
        of_image = Instances(size_hw)
        of_image.pred_boxes = Boxes(pred_boxes)
        of_image.scores = pred_scores
        of_image.pred_classes = classes
        results.append(of_image)
        kept.append(rows)
    return results, kept


def fast_rcnn_inference_single_image(
    boxes: Tensor,
    scores: Tensor,
    image_shape: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[Instances, Tensor]:
    """Pick the detections of one image; arguments and results as of `fast_rcnn_inference`."""
    results, kept = fast_rcnn_inference(
        [boxes], [scores], [image_shape], score_thresh, nms_thresh, topk_per_image
    )
    return results[0], kept[0]


def flat_size(shape: ShapeSpec | int) -> int:
    """Count the values of one region's features."""
    if isinstance(shape, int):
        return shape
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

"""Losses together with the figures that describe them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from fvcore.nn import giou_loss, smooth_l1_loss
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss

from d2seg.core.ops.waiting import to_numbers
from d2seg.core.runtime.events import get_event_storage, has_event_storage
from d2seg.core.structures import Instances

# What heads return: losses in training, else the instances. TorchScript compiles the latter.
if TYPE_CHECKING:
    LossesOrInstances = Any
else:
    LossesOrInstances = list[Instances]

_IOU_LOSSES = {
    "giou": giou_loss,
    "diou": distance_box_iou_loss,
    "ciou": complete_box_iou_loss,
}
BOX_LOSS_TYPES = ("smooth_l1", *_IOU_LOSSES)


class Losses(dict[str, Tensor]):
    """Named scalar losses to be summed, with metrics beside them that are only reported.

    Modules return their metrics here instead of writing them to a global storage; the outermost
    forward publishes them. Modules of users may return a plain dict: ``Losses(result)`` takes
    either.

    Args:
        losses: Name to scalar.
        metrics: Name to number; by default those that ``losses`` has.
    """

    def __init__(
        self,
        losses: Mapping[str, Tensor] | None = None,
        metrics: Mapping[str, Tensor | float] | None = None,
    ) -> None:
        super().__init__(losses or {})
        if metrics is None and isinstance(losses, Losses):
            metrics = losses.metrics
        self.metrics: dict[str, Tensor | float] = dict(metrics or {})

    def add(self, other: Mapping[str, Tensor]) -> None:
        """Take over the losses, and the metrics if there are any, of another module."""
        self.update(other)
        if isinstance(other, Losses):
            self.metrics.update(other.metrics)

    def weighted(self, weights: Mapping[str, float] | float) -> "Losses":
        """Multiply each loss by its weight: one for all, or by name with 1 for the others."""
        by_name = {name: weights for name in self} if isinstance(weights, int | float) else weights
        scaled = {name: loss * by_name.get(name, 1.0) for name, loss in self.items()}
        return Losses(scaled, self.metrics)

    def of_stage(self, stage: int) -> "Losses":
        """Name the losses ``x_stage0`` and the metrics ``stage0/x``, as in a cascade."""
        suffix = f"_stage{stage}"
        metrics = {f"stage{stage}/{name}": value for name, value in self.metrics.items()}
        return Losses({f"{name}{suffix}": loss for name, loss in self.items()}, metrics)

    def publish(self) -> None:
        """Write the metrics to the active EventStorage, if there is one."""
        if has_event_storage():
            storage = get_event_storage()
            for name, value in to_numbers(self.metrics).items():
                storage.put_scalar(name, value)


def box_regression_loss(
    pred_deltas: Tensor,
    pred_boxes: Tensor,
    gt_deltas: Tensor,
    gt_boxes: Tensor,
    loss_type: str,
    smooth_l1_beta: float,
) -> Tensor:
    """Sum a box regression loss over all boxes.

    Args:
        pred_deltas: (N, 4) float.
        pred_boxes: (N, 4) float, XYXY; the same predictions decoded. Used by the IoU losses.
        gt_deltas: (N, 4) float.
        gt_boxes: (N, 4) float, XYXY.
        loss_type: One of ``smooth_l1``, ``giou``, ``diou``, ``ciou``.
        smooth_l1_beta: Where the smooth L1 loss turns from square to linear; 0 for L1.

    Returns:
        Scalar.
    """
    if loss_type == "smooth_l1":
        return smooth_l1_loss(pred_deltas, gt_deltas, beta=smooth_l1_beta, reduction="sum")
    return _IOU_LOSSES[loss_type](pred_boxes, gt_boxes, reduction="sum")


def check_box_loss_type(key: str, loss_type: str) -> None:
    """Raise ValueError when a config names a box loss that does not exist."""
    if loss_type not in BOX_LOSS_TYPES:
        raise ValueError(f"{key} is '{loss_type}', but must be one of {', '.join(BOX_LOSS_TYPES)}.")


def share(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide counts, giving 0 where there is nothing to divide by."""
    return numerator / torch.clamp(denominator, min=1)

"""Box losses under detectron2's names; torchvision computes them."""

from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss


def diou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """Compute the distance-IoU loss (arXiv:1911.08287) of boxes (N, 4) XYXY, pair by pair."""
    return distance_box_iou_loss(boxes1, boxes2, reduction, eps)


def ciou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """Compute the complete-IoU loss (arXiv:1911.08287) of boxes (N, 4) XYXY, pair by pair."""
    return complete_box_iou_loss(boxes1, boxes2, reduction, eps)

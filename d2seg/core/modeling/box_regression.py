"""Box deltas as an object that knows its weights."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from d2seg.core.modeling.losses import box_regression_loss
from d2seg.core.ops.box_coding import decode_boxes, encode_boxes
from d2seg.core.ops.rotated_coding import decode_rotated_boxes, encode_rotated_boxes
from d2seg.core.ops.waiting import require_all
from d2seg.core.structures import Boxes

# Any sequence will do; TorchScript compiles for lists.
if TYPE_CHECKING:
    Weights = Sequence[float]
else:
    Weights = list[float]

DEFAULT_SCALE_CLAMP = math.log(1000.0 / 16)
"""No box grows by more than this log factor: from 16 to 1000 pixels."""


def dense_box_regression_loss(
    anchors: Sequence[Boxes | Tensor],
    box2box_transform: "Box2BoxTransform | Box2BoxTransformLinear",
    pred_anchor_deltas: Sequence[Tensor],
    gt_boxes: Sequence[Tensor],
    fg_mask: Tensor,
    box_reg_loss_type: str = "smooth_l1",
    smooth_l1_beta: float = 0.0,
) -> Tensor:
    """Sum a box regression loss over the anchors that match objects.

    Args:
        anchors: Per level A_l boxes; A of all levels together.
        box2box_transform: Encodes boxes relative to anchors.
        pred_anchor_deltas: Per level (B, A_l, 4) float.
        gt_boxes: For each of the B images (A, 4) float, the box that each anchor matches.
        fg_mask: (B, A) bool, which anchors match an object.
        box_reg_loss_type: See `d2seg.core.modeling.losses.box_regression_loss`.
        smooth_l1_beta: Likewise.

    Returns:
        Scalar.
    """
    image, anchor = fg_mask.nonzero(as_tuple=True)
    tensors = [one if isinstance(one, Tensor) else one.tensor for one in anchors]
    source = torch.cat(tensors)[anchor]
    target = torch.stack(list(gt_boxes))[image, anchor]
    deltas = torch.cat(list(pred_anchor_deltas), dim=1)[image, anchor]
    return box_regression_loss(
        deltas,
        box2box_transform.apply_deltas(deltas, source),
        box2box_transform.get_deltas(source, target),
        target,
        box_reg_loss_type,
        smooth_l1_beta,
    )


_dense_box_regression_loss = dense_box_regression_loss
"""The name that it has in detectron2."""


class Box2BoxTransform:
    """Encodes boxes relative to others and decodes them again.

    Args:
        weights: Factors of (dx, dy, dw, dh).
        scale_clamp: Upper bound of dw and dh when decoding.
    """

    def __init__(self, weights: Weights, scale_clamp: float = DEFAULT_SCALE_CLAMP) -> None:
        self.weights = [float(weight) for weight in weights]
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Return the deltas (N, 4) that turn each source box into its target.

        Raises:
            ValueError: A source box is empty.
        """
        deltas = encode_boxes(src_boxes, target_boxes, self.weights)
        require_all(
            src_boxes[:, 2:] > src_boxes[:, :2],
            "Box deltas need source boxes wider and higher than 0; one is empty.",
        )
        return deltas

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Apply deltas (N, 4K) to boxes (N, 4): (N, 4K) XYXY pixels."""
        return decode_boxes(deltas, boxes, self.weights, self.scale_clamp)

    @torch.jit.unused
    def __repr__(self) -> str:
        """Show the weights."""
        return f"{type(self).__name__}(weights={self.weights})"


class Box2BoxTransformRotated(Box2BoxTransform):
    """Encodes rotated boxes relative to others and decodes them again.

    Args:
        weights: Factors of (dx, dy, dw, dh, da); the turn da is in radians.
        scale_clamp: Upper bound of dw and dh when decoding.
    """

    def __init__(self, weights: Weights, scale_clamp: float = DEFAULT_SCALE_CLAMP) -> None:
        # TorchScript's classes inherit nothing, so this is written again.
        self.weights = [float(weight) for weight in weights]
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Return the deltas (N, 5) that turn each source box into its target.

        Raises:
            ValueError: A source box is empty.
        """
        require_all(
            src_boxes[:, 2:4] > 0,
            "Box deltas need source boxes wider and higher than 0; one is empty.",
        )
        return encode_rotated_boxes(src_boxes, target_boxes, self.weights)

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Apply deltas (N, 5K) to boxes (N, 5): (N, 5K)."""
        return decode_rotated_boxes(deltas, boxes, self.weights, self.scale_clamp)


class Box2BoxTransformLinear:
    """Encodes boxes as distances from the middle of others to the four sides (arXiv:1904.01355).

    Args:
        normalize_by_size: Distances in sizes of the source box instead of pixels.
    """

    def __init__(self, normalize_by_size: bool = True) -> None:
        self.normalize_by_size = normalize_by_size

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Return distances (N, 4) to the left, upper, right and lower side of each target."""
        middle = (src_boxes[:, :2] + src_boxes[:, 2:]) / 2
        distance = torch.cat([middle - target_boxes[:, :2], target_boxes[:, 2:] - middle], dim=1)
        return distance / self._unit(src_boxes)

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Apply distances (N, 4), negative ones counting as 0, to boxes (N, 4): (N, 4) XYXY."""
        distance = torch.relu(deltas) * self._unit(boxes)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        return torch.cat([middle - distance[:, :2], middle + distance[:, 2:]], dim=1)

    def _unit(self, boxes: Tensor) -> Tensor:
        if not self.normalize_by_size:
            return torch.ones_like(boxes)
        return (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


_NUM_WEIGHTS: dict[type, int] = {Box2BoxTransform: 4, Box2BoxTransformRotated: 5}


def check_box_values(key: str, transform: Any, anchor_generator: Any = None) -> None:
    """Raise ValueError when weights or anchors do not have a value for each of a box.

    Args:
        key: The config key of the weights.
        transform: Encodes the boxes; one that is not defined here is not looked at.
        anchor_generator: With ``box_dim``; None where there are no anchors.
    """
    needed = _NUM_WEIGHTS.get(type(transform))
    if needed is None:
        return
    if len(transform.weights) != needed:
        raise ValueError(
            f"{key} has {len(transform.weights)} values, but the boxes here have {needed} and need "
            "a weight for each."
        )
    box_dim = getattr(anchor_generator, "box_dim", needed)
    if box_dim != needed:
        raise ValueError(
            f"MODEL.ANCHOR_GENERATOR.NAME '{type(anchor_generator).__name__}' gives anchors of "
            f"{box_dim} values, but the boxes here have {needed}: 'RRPN' needs "
            "'RotatedAnchorGenerator', everything else 'DefaultAnchorGenerator'."
        )

"""Box deltas as an object that knows its weights."""

import math
from collections.abc import Sequence

from torch import Tensor

from d2seg.core.ops.box_coding import decode_boxes, encode_boxes

DEFAULT_SCALE_CLAMP = math.log(1000.0 / 16)
"""No box grows by more than this log factor: from 16 to 1000 pixels."""


class Box2BoxTransform:
    """Encodes boxes relative to others and decodes them again.

    Args:
        weights: Factors of (dx, dy, dw, dh).
        scale_clamp: Upper bound of dw and dh when decoding.
    """

    def __init__(self, weights: Sequence[float], scale_clamp: float = DEFAULT_SCALE_CLAMP) -> None:
        self.weights = [float(weight) for weight in weights]
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Return the deltas (N, 4) that turn each source box into its target.

        Raises:
            ValueError: A source box is empty.
        """
        deltas = encode_boxes(src_boxes, target_boxes, self.weights)
        if not bool((src_boxes[:, 2:] > src_boxes[:, :2]).all()):
            raise ValueError("Box deltas need source boxes wider and higher than 0; one is empty.")
        return deltas

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Apply deltas (N, 4K) to boxes (N, 4): (N, 4K) XYXY pixels."""
        return decode_boxes(deltas, boxes, self.weights, self.scale_clamp)

    def __repr__(self) -> str:
        """Show the weights."""
        return f"Box2BoxTransform(weights={self.weights})"

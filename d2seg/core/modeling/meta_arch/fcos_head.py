"""The head of FCOS (arXiv:2006.09214)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.meta_arch.retinanet import RetinaNetHead

Predictions = tuple[list[Tensor], list[Tensor], list[Tensor]]
"""Per level class logits, distances and centerness logits."""


class FCOSHead(RetinaNetHead):
    """The towers of RetinaNet, with one box for each cell, and the centerness from the second.

    Distances are learnt in strides, so levels need no scales of their own (section 2.2).

    Args:
        input_shape: Of each level; all have the same channels.
        conv_dims: Channels of each convolution of a tower.
        **kwargs: As of `RetinaNetHead`, without ``num_anchors``.
    """

    def __init__(
        self, *, input_shape: Sequence[ShapeSpec], conv_dims: Sequence[int], **kwargs: Any
    ) -> None:
        super().__init__(input_shape=input_shape, conv_dims=conv_dims, num_anchors=1, **kwargs)
        width = conv_dims[-1] if conv_dims else input_shape[0].channels or 0
        self.ctrness = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.normal_(self.ctrness.weight, std=0.01)
        nn.init.zeros_(self.ctrness.bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> Predictions:  # type: ignore[override]
        """Predict from features (B, C, H_l, W_l) of each level.

        Returns:
            Per level class logits (B, K, H_l, W_l), distances (B, 4, H_l, W_l) and centerness
            logits (B, 1, H_l, W_l).
        """
        to_box = [self.bbox_subnet(x) for x in features]
        logits = [self.cls_score(self.cls_subnet(x)) for x in features]
        deltas = [self.bbox_pred(x) for x in to_box]
        return logits, deltas, [self.ctrness(x) for x in to_box]

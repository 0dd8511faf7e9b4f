"""What the heads of DeepLab share: the loss, and the enlargement of their logits."""

import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.modeling.losses import Losses
from d2seg.core.projects.deeplab.loss import DeepLabCE

HARD_SHARE = 0.2
"""The share of pixels that hard pixel mining trains on."""


class DeepLabHead(nn.Module):
    """What the heads share: the loss, and the enlargement of their logits.

    Args:
        common_stride: Pixels of the image from one logit to the next.
        loss_weight: Weight of ``loss_sem_seg``.
        loss_type: ``cross_entropy`` or ``hard_pixel_mining``.
        ignore_value: Pixels of this class are not trained on.
    """

    def __init__(
        self, common_stride: int, loss_weight: float, loss_type: str, ignore_value: int
    ) -> None:
        super().__init__()
        self.common_stride = common_stride
        self.loss_weight = loss_weight
        self.ignore_value = ignore_value
        self.loss = _loss(loss_type, ignore_value)

    def forward(
        self, features: dict[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, Losses]:
        """Compute the loss in training, the logits otherwise.

        Args:
            features: Name -> (B, C_l, H_l, W_l).
            targets: (B, H, W) int64 classes, for training.

        Returns:
            In training None and the loss; otherwise logits (B, C, H, W) and no losses.
        """
        logits = self.layers(features)
        if self.training:
            if targets is None:
                raise ValueError(f"{type(self).__name__} needs targets in training; call eval().")
            return None, self.losses(logits, targets)
        return self._enlarge(logits), Losses()

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        """Compute logits (B, C, H / common_stride, W / common_stride)."""
        raise NotImplementedError(f"{type(self).__name__} must define layers().")

    def losses(self, predictions: Tensor, targets: Tensor) -> Losses:
        """Compute ``loss_sem_seg`` of logits at the common stride."""
        loss = self.loss(self._enlarge(predictions.float()), targets)
        return Losses({"loss_sem_seg": loss * self.loss_weight})

    def _enlarge(self, logits: Tensor) -> Tensor:
        return F.interpolate(
            logits, scale_factor=self.common_stride, mode="bilinear", align_corners=False
        )


def _loss(loss_type: str, ignore_value: int) -> nn.Module:
    if loss_type == "cross_entropy":
        return nn.CrossEntropyLoss(ignore_index=ignore_value)
    if loss_type == "hard_pixel_mining":
        return DeepLabCE(ignore_value, top_k_percent_pixels=HARD_SHARE)
    raise ValueError(
        f"MODEL.SEM_SEG_HEAD.LOSS_TYPE is '{loss_type}', but must be 'cross_entropy' or "
        "'hard_pixel_mining'."
    )

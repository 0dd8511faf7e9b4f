"""The loss of the pixels that are hardest (DeeperLab, arXiv:1902.05093, section 3.4)."""

import torch.nn.functional as F
from torch import Tensor, nn


class DeepLabCE(nn.Module):
    """Cross entropy, averaged over the share of all pixels where it is highest.

    Args:
        ignore_label: Pixels of this class have a loss of 0, and count.
        top_k_percent_pixels: The share, in (0, 1]; 1 for all.
        weight: (C,) float, a factor for each class.
    """

    weight: Tensor | None

    def __init__(
        self,
        ignore_label: int = -1,
        top_k_percent_pixels: float = 1.0,
        weight: Tensor | None = None,
    ) -> None:
        super().__init__()
        if not 0 < top_k_percent_pixels <= 1:
            raise ValueError(
                f"The share of pixels is above 0 and at most 1; found {top_k_percent_pixels}."
            )
        self.ignore_label = ignore_label
        self.top_k_percent_pixels = top_k_percent_pixels
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss, a scalar.

        Args:
            logits: (B, C, H, W) float.
            labels: (B, H, W) int64.
            weights: (B, H, W) float, a factor for each pixel.
        """
        each = F.cross_entropy(
            logits, labels, self.weight, ignore_index=self.ignore_label, reduction="none"
        )
        if weights is not None:
            each = each * weights
        count = max(int(each.numel() * self.top_k_percent_pixels), 1)
        return each.flatten().topk(count, sorted=False)[0].mean()

"""A learning rate that falls as a power of what is left (DeepLab, arXiv:1606.00915, 4.1.1)."""

from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from d2seg.core.solver.lr_scheduler import warmup_factor_at


class WarmupPolyLR(LRScheduler):
    """The base rate times ``(1 - step / max_iters) ** power``, after a warm-up.

    Args:
        optimizer: Its learning rates are changed by ``step()``.
        max_iters: Steps of the training.
        warmup_factor: The warm-up starts at this share.
        warmup_iters: Steps of the warm-up.
        warmup_method: ``linear`` or ``constant``.
        last_epoch: The step to resume from.
        power: The exponent.
        constant_ending: After the warm-up the rate does not fall below this share of its base.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        max_iters: int,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
        power: float = 0.9,
        constant_ending: float = 0.0,
    ) -> None:
        self.max_iters = max_iters
        self.power = power
        self.constant_ending = constant_ending
        self.warmup = (warmup_method, warmup_iters, warmup_factor)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Return the learning rate of every group at this step."""
        warmup = warmup_factor_at(self.last_epoch, *self.warmup)
        curve = max(1 - self.last_epoch / self.max_iters, 0.0) ** self.power
        if warmup == 1:
            curve = max(curve, self.constant_ending)
        return [base_lr * warmup * curve for base_lr in self.base_lrs]

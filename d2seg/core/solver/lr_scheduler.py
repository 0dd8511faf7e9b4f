"""Learning rates over the course of a training; the curves are fvcore's."""

from collections.abc import Sequence
from typing import Any

import torch
from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
)
from torch.optim.lr_scheduler import LRScheduler


class WarmupParamScheduler(CompositeParamScheduler):
    """A curve whose beginning is replaced by a warm-up.

    Args:
        scheduler: The curve.
        warmup_factor: The warm-up starts at this share of the curve's first value.
        warmup_length: Share of the training that is warm-up, in [0, 1].
        warmup_method: ``linear`` or ``constant``.
        rescale_interval: Whether the whole curve follows the warm-up, or what is left of it.
    """

    def __init__(
        self,
        scheduler: ParamScheduler,
        warmup_factor: float,
        warmup_length: float,
        warmup_method: str = "linear",
        rescale_interval: bool = False,
    ) -> None:
        start = warmup_factor * scheduler(0.0)
        end = scheduler(0.0) if rescale_interval else scheduler(warmup_length)
        if warmup_method == "constant":
            warmup: ParamScheduler = ConstantParamScheduler(start)
        elif warmup_method == "linear":
            warmup = LinearParamScheduler(start, end)
        else:
            raise ValueError(
                f"SOLVER.WARMUP_METHOD is '{warmup_method}', but must be 'linear' or 'constant'."
            )
        super().__init__(
            [warmup, scheduler],
            interval_scaling=["rescaled", "rescaled" if rescale_interval else "fixed"],
            lengths=[warmup_length, 1 - warmup_length],
        )


class LRMultiplier(LRScheduler):
    """Multiplies the initial learning rate of every group by a curve.

    Stepped to ``max_iter`` it gives the curve's value at 1, its end. Curves that are defined up to
    there only raise an error of their own then: an IndexError from
    ``StepWithFixedGammaParamScheduler``, a RuntimeError from ``ConstantParamScheduler``.

    Args:
        optimizer: Its learning rates are changed by ``step()``.
        multiplier: The curve over [0, 1].
        max_iter: Steps of the training.
        last_iter: The step to resume from; -1 for the start.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        multiplier: ParamScheduler,
        max_iter: int,
        last_iter: int = -1,
    ) -> None:
        if not isinstance(multiplier, ParamScheduler):
            raise ValueError(
                f"LRMultiplier needs a fvcore ParamScheduler; found a {type(multiplier).__name__}."
            )
        self._multiplier = multiplier
        self._max_iter = max_iter
        super().__init__(optimizer, last_epoch=last_iter)

    def state_dict(self) -> dict[str, Any]:
        """Return what changes over time; the curve follows from the config."""
        return {"base_lrs": self.base_lrs, "last_epoch": self.last_epoch}

    def get_lr(self) -> list[Any]:
        """Return the learning rate of every group at this step."""
        factor = self._multiplier(self.last_epoch / self._max_iter)
        return [base_lr * factor for base_lr in self.base_lrs]


class WarmupMultiStepLR(LRScheduler):
    """A learning rate that falls at some steps, after a warm-up.

    Args:
        optimizer: Its learning rates are changed by ``step()``.
        milestones: Steps at which the rate falls, rising.
        gamma: The factor it falls by.
        warmup_factor: The warm-up starts at this share.
        warmup_iters: Steps of the warm-up.
        warmup_method: ``linear`` or ``constant``.
        last_epoch: The step to resume from.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        milestones: Sequence[int],
        gamma: float = 0.1,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        if list(milestones) != sorted(milestones):
            raise ValueError(f"Milestones must rise; found {list(milestones)}.")
        self.milestones = list(milestones)
        self.gamma = gamma
        self.warmup = (warmup_method, warmup_iters, warmup_factor)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Return the learning rate of every group at this step."""
        passed = sum(step <= self.last_epoch for step in self.milestones)
        factor = warmup_factor_at(self.last_epoch, *self.warmup) * self.gamma**passed
        return [base_lr * factor for base_lr in self.base_lrs]


class WarmupCosineLR(LRScheduler):
    """A learning rate that falls along half a cosine to 0, after a warm-up.

    Args:
        optimizer: Its learning rates are changed by ``step()``.
        max_iters: Steps of the training.
        warmup_factor: The warm-up starts at this share.
        warmup_iters: Steps of the warm-up.
        warmup_method: ``linear`` or ``constant``.
        last_epoch: The step to resume from.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        max_iters: int,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: str = "linear",
        last_epoch: int = -1,
    ) -> None:
        self.max_iters = max_iters
        self.warmup = (warmup_method, warmup_iters, warmup_factor)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Return the learning rate of every group at this step."""
        curve = CosineParamScheduler(1.0, 0.0)(self.last_epoch / self.max_iters)
        factor = warmup_factor_at(self.last_epoch, *self.warmup) * curve
        return [base_lr * factor for base_lr in self.base_lrs]


def warmup_factor_at(step: int, method: str, warmup_iters: int, warmup_factor: float) -> float:
    """Return the share of the learning rate at a step of the warm-up; 1 after it."""
    if method not in ("constant", "linear"):
        raise ValueError(f"The warm-up is 'linear' or 'constant'; found '{method}'.")
    if step >= warmup_iters:
        return 1.0
    if method == "constant":
        return warmup_factor
    return warmup_factor + (1 - warmup_factor) * step / warmup_iters


def multi_step(steps: Sequence[int], gamma: float, max_iter: int) -> MultiStepParamScheduler:
    """Return the curve that falls by a factor at each of the steps before the end."""
    used = [step for step in steps if step <= max_iter]
    values = [gamma**index for index in range(len(used) + 1)]
    return MultiStepParamScheduler(values=values, milestones=used, num_updates=max_iter)

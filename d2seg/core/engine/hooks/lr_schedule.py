"""The learning rate from step to step."""

from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import Any

import torch
from fvcore.common.param_scheduler import ParamScheduler
from torch.optim.lr_scheduler import LRScheduler as TorchLRScheduler

from d2seg.core.engine.loop import HookBase
from d2seg.core.solver import LRMultiplier


class LRScheduler(HookBase):
    """Steps a learning-rate schedule and records the rate as ``lr``.

    Args:
        optimizer: By default the trainer's.
        scheduler: One of torch, or a curve of fvcore over the training, which multiplies the
            learning rate; by default the trainer's.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: TorchLRScheduler | ParamScheduler | None = None,
    ) -> None:
        self._optimizer: Any = optimizer
        self._scheduler = scheduler

    @property
    def scheduler(self) -> Any:
        """The schedule."""
        return self.trainer.scheduler if self._scheduler is None else self._scheduler

    def before_train(self) -> None:
        """Find the optimizer, the schedule and which group's rate to report."""
        if self._optimizer is None:
            self._optimizer = self.trainer.optimizer
        if isinstance(self.scheduler, ParamScheduler):
            self._scheduler = LRMultiplier(
                self._optimizer,
                self.scheduler,
                self.trainer.max_iter,
                last_iter=self.trainer.iter - 1,
            )
        self._reported = self.get_best_param_group_id(self._optimizer)

    @staticmethod
    def get_best_param_group_id(optimizer: torch.optim.Optimizer) -> int:
        """Return the number of the group whose learning rate stands for all.

        That is the largest group, or where no group has two parameters, the first one with the
        most common rate.
        """
        sizes = [len(group["params"]) for group in optimizer.param_groups]
        if max(sizes) > 1:
            return sizes.index(max(sizes))
        rates = [group["lr"] for group in optimizer.param_groups]
        return rates.index(max(rates, key=rates.count))

    def after_step(self) -> None:
        """Record the rate of this step and go to the next one's."""
        rate = self._optimizer.param_groups[self._reported]["lr"]
        self.trainer.storage.put_scalar("lr", rate, smoothing_hint=False)
        is_last = self.trainer.iter + 1 >= self.trainer.max_iter
        # Not every curve has a value at the very end, after the last step that needs one.
        with suppress(IndexError, RuntimeError) if is_last else nullcontext():
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the schedule; a curve alone has none."""
        if isinstance(self.scheduler, TorchLRScheduler):
            return self.scheduler.state_dict()
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of the schedule; a curve follows the iteration instead."""
        if isinstance(self.scheduler, TorchLRScheduler):
            self.scheduler.load_state_dict(dict(state_dict))

"""When a training is saved."""

import logging
import math
import sys
from typing import Any

from fvcore.common.checkpoint import Checkpointer
from fvcore.common.checkpoint import PeriodicCheckpointer as FvcorePeriodicCheckpointer

from d2seg.core.engine.loop import HookBase

logger = logging.getLogger(__name__)


class PeriodicCheckpointer(FvcorePeriodicCheckpointer, HookBase):
    """Saves a checkpoint every so many steps and at the end; arguments as of fvcore's.

    A ``period`` of 0 or less saves at the end only.
    """

    def __init__(
        self,
        checkpointer: Checkpointer,
        period: int,
        max_iter: int | None = None,
        max_to_keep: int | None = None,
        file_prefix: str = "model",
    ) -> None:
        # No training comes to the end of such a period.
        super().__init__(
            checkpointer, period if period > 0 else sys.maxsize, max_iter, max_to_keep, file_prefix
        )

    def before_train(self) -> None:
        """Learn when the end is."""
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:
        """Save, if it is time."""
        self.step(self.trainer.iter)

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: what it saves is not its own."""
        return {}


class BestCheckpointer(HookBase):
    """Saves a checkpoint when a metric is better than ever; comes after `EvalHook`.

    Args:
        eval_period: Steps between evaluations, the same as of `EvalHook`.
        checkpointer: Saves.
        val_metric: Name of the metric, such as ``bbox/AP50``.
        mode: ``max`` or ``min``: what is better.
        file_prefix: Name of the file.
    """

    def __init__(
        self,
        eval_period: int,
        checkpointer: Checkpointer,
        val_metric: str,
        mode: str = "max",
        file_prefix: str = "model_best",
    ) -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"mode is '{mode}', but must be 'max' or 'min'.")
        self._period, self._checkpointer = eval_period, checkpointer
        self._metric, self._sign = val_metric, 1.0 if mode == "max" else -1.0
        self._file_prefix = file_prefix
        self.best_metric: float | None = None
        self.best_iter: int | None = None

    def after_step(self) -> None:
        """Save, if there was an evaluation and it is the best."""
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._save_if_best()

    def after_train(self) -> None:
        """Save, if the last evaluation is the best."""
        if self.trainer.iter >= self.trainer.max_iter:
            self._save_if_best()

    def _save_if_best(self) -> None:
        latest = self.trainer.storage.latest().get(self._metric)
        if latest is None:
            logger.warning("No metric '%s' was recorded; no best model is kept.", self._metric)
            return
        value, iteration = latest
        better = self.best_metric is None or self._sign * (value - self.best_metric) > 0
        if not math.isfinite(value) or not better:
            return
        self.best_metric, self.best_iter = value, iteration
        self._checkpointer.save(self._file_prefix, iteration=iteration)
        logger.info("%s is best so far: %.5f after %d steps.", self._metric, value, iteration + 1)

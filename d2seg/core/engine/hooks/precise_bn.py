"""Batch norms with the statistics of many batches."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn

from d2seg.core.engine.loop import HookBase
from d2seg.core.runtime.events import EventStorage

logger = logging.getLogger(__name__)


class PreciseBN(HookBase):
    """Recomputes the statistics of batch norms from many batches, every so many steps.

    Args:
        period: In steps; 0 for the end only.
        model: Its trainable batch norms are updated.
        data_loader: Gives the batches; endless.
        num_iter: How many.
    """

    def __init__(
        self, period: int, model: nn.Module, data_loader: Iterable[Any], num_iter: int
    ) -> None:
        self._disabled = not get_bn_modules(model)
        if self._disabled:
            logger.info("PreciseBN has nothing to do: the model has no trainable batch norm.")
        self._period, self._model, self._num_iter = period, model, num_iter
        self._data_loader = data_loader
        self._batches: Iterator[Any] | None = None

    def after_step(self) -> None:
        """Update, if it is time."""
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or (self._period > 0 and done % self._period == 0):
            self.update_stats()

    def update_stats(self) -> None:
        """Compute the statistics now, from batches that no earlier call has used."""
        if self._disabled:
            return
        if self._batches is None:
            self._batches = iter(self._data_loader)
        # What the model records about these batches is no part of the training's metrics.
        with EventStorage():
            update_bn_stats(self._model, self._batches, self._num_iter)

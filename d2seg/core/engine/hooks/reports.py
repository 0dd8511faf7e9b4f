"""How fast a training goes, and when its metrics are written."""

import logging
import time
from collections.abc import Iterable

from d2seg.core.engine.loop import HookBase
from d2seg.core.runtime.writers import EventWriter

logger = logging.getLogger(__name__)


class IterationTimer(HookBase):
    """Records the seconds of each step as ``time`` and says at the end how long all took.

    Args:
        warmup_iter: So many first steps are not recorded.
    """

    def __init__(self, warmup_iter: int = 3) -> None:
        self._warmup_iter = warmup_iter
        self._started = self._step_started = time.perf_counter()
        self._in_steps = 0.0

    def before_train(self) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def before_step(self) -> None:
        """Start the clock of a step."""
        self._step_started = time.perf_counter()

    def after_step(self) -> None:
        """Record the seconds of the step."""
        seconds = time.perf_counter() - self._step_started
        if self.trainer.iter - self.trainer.start_iter >= self._warmup_iter:
            self._in_steps += seconds
            self.trainer.storage.put_scalars(time=seconds)

    def after_train(self) -> None:
        """Log how long it took."""
        counted = self.trainer.iter - self.trainer.start_iter - self._warmup_iter
        if counted > 0 and self._in_steps > 0:
            total = time.perf_counter() - self._started
            logger.info(
                "Trained for %.0f s, %.4f s a step; %.0f s went into hooks.",
                total,
                self._in_steps / counted,
                total - self._in_steps,
            )


class PeriodicWriter(HookBase):
    """Lets writers write every so many steps and at the end.

    Args:
        writers: See `d2seg.core.runtime.writers`.
        period: In steps.
    """

    def __init__(self, writers: Iterable[EventWriter], period: int = 20) -> None:
        self._writers = list(writers)
        self._period = period

    def after_step(self) -> None:
        """Write, if it is time."""
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:
        """Write what other hooks recorded at the end, and close."""
        for writer in self._writers:
            writer.write()
            writer.close()

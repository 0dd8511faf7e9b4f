"""How many images a training sees in a second, and how much memory it takes."""

import resource
import sys
import time

import torch

from d2seg.framework import HookBase


class Throughput(HookBase):
    """Records ``images_per_second`` of all processes, and without a GPU ``max_mem_cpu`` in MB.

    Args:
        batch_size: Over all processes.
        period: In iterations.
    """

    def __init__(self, batch_size: int, period: int = 20) -> None:
        self._batch_size, self._period = batch_size, period
        self._started = 0.0
        self._seconds, self._steps = 0.0, 0

    def before_step(self) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def after_step(self) -> None:
        """Stop the clock; record at the end of a period. Evaluations do not count."""
        self._seconds += time.perf_counter() - self._started
        self._steps += 1
        if (self.trainer.iter + 1) % self._period:
            return
        scalars = {"images_per_second": self._batch_size * self._steps / self._seconds}
        if not torch.cuda.is_available():
            unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KB elsewhere
            scalars["max_mem_cpu"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        self.trainer.storage.put_scalars(**scalars, smoothing_hint=False)
        self._seconds, self._steps = 0.0, 0

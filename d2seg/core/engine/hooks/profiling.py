"""What chosen steps spend their time and memory on."""

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch

from d2seg.core.engine.loop import HookBase


class TorchProfiler(HookBase):
    """Profiles chosen steps and writes a trace for the browser.

    Args:
        enable_predicate: From the trainer to whether this step is profiled.
        output_dir: Folder for the traces.
        activities: As of ``torch.profiler.profile``.
        save_tensorboard: Write for TensorBoard instead of a Chrome trace.
    """

    def __init__(
        self,
        enable_predicate: Callable[[Any], bool],
        output_dir: str,
        *,
        activities: Sequence[Any] | None = None,
        save_tensorboard: bool = True,
    ) -> None:
        self._enable_predicate = enable_predicate
        self._output_dir = output_dir
        self._activities = activities
        self._save_tensorboard = save_tensorboard
        self._profiler: Any = None

    def before_step(self) -> None:
        """Start, if this step is chosen."""
        if not self._enable_predicate(self.trainer):
            return
        handler = None
        if self._save_tensorboard:
            folder = os.path.join(self._output_dir, "log", f"profiler_iter{self.trainer.iter}")
            handler = torch.profiler.tensorboard_trace_handler(folder)
        self._profiler = torch.profiler.profile(
            activities=self._activities, on_trace_ready=handler, record_shapes=True
        )
        self._profiler.__enter__()

    def after_step(self) -> None:
        """Stop and write."""
        if self._profiler is None:
            return
        self._profiler.__exit__(None, None, None)
        if not self._save_tensorboard:
            os.makedirs(self._output_dir, exist_ok=True)
            name = f"profiler_iter{self.trainer.iter}.json"
            with tempfile.TemporaryDirectory(dir=self._output_dir) as folder:
                temporary = os.path.join(folder, name)
                self._profiler.export_chrome_trace(temporary)
                os.replace(temporary, os.path.join(self._output_dir, name))
        self._profiler = None


class AutogradProfiler(TorchProfiler):
    """`TorchProfiler` under its older name, writing Chrome traces.

    Args:
        enable_predicate: From the trainer to whether this step is profiled.
        output_dir: Folder for the traces.
        use_cuda: Profile the GPU too.
    """

    def __init__(
        self, enable_predicate: Callable[[Any], bool], output_dir: str, *, use_cuda: bool = True
    ) -> None:
        activities = [torch.profiler.ProfilerActivity.CPU]
        if use_cuda and torch.cuda.is_available():
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        super().__init__(
            enable_predicate, output_dir, activities=activities, save_tensorboard=False
        )


class TorchMemoryStats(HookBase):
    """Records how much GPU memory is reserved and used, in MB; nothing without a GPU.

    Args:
        period: In steps.
        max_runs: How often at most.
    """

    def __init__(self, period: int = 20, max_runs: int = 10) -> None:
        self._period, self._max_runs, self._runs = period, max_runs, 0

    def after_step(self) -> None:
        """Record, if it is time."""
        done = self.trainer.iter + 1
        if self._runs >= self._max_runs or not torch.cuda.is_available():
            return
        if done % self._period == 0 or done == self.trainer.max_iter:
            self._runs += 1
            figures = {
                "max_reserved_mem": torch.cuda.max_memory_reserved(),
                "reserved_mem": torch.cuda.memory_reserved(),
                "max_allocated_mem": torch.cuda.max_memory_allocated(),
                "allocated_mem": torch.cuda.memory_allocated(),
            }
            megabytes = {name: value / 2**20 for name, value in figures.items()}
            self.trainer.storage.put_scalars(**megabytes, smoothing_hint=False)
            torch.cuda.reset_peak_memory_stats()

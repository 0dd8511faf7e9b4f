"""What is done around the steps of a training."""

import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any

import torch
from fvcore.common.checkpoint import Checkpointer
from fvcore.common.checkpoint import PeriodicCheckpointer as FvcorePeriodicCheckpointer
from fvcore.common.param_scheduler import ParamScheduler
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn
from torch.optim.lr_scheduler import LRScheduler as TorchLRScheduler

from d2seg.core.engine.train_loop import HookBase
from d2seg.core.evaluation.testing import flatten_results_dict
from d2seg.core.runtime import comm
from d2seg.core.runtime.events import EventStorage
from d2seg.core.runtime.writers import EventWriter
from d2seg.core.solver import LRMultiplier

__all__ = [
    "AutogradProfiler",
    "BestCheckpointer",
    "CallbackHook",
    "EvalHook",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "PreciseBN",
    "TorchMemoryStats",
    "TorchProfiler",
]

logger = logging.getLogger(__name__)

StepCallback = Callable[[Any], Any] | None


class CallbackHook(HookBase):
    """Calls functions with the trainer.

    Args:
        before_train: Called before the first step; likewise the others.
        after_train: After the last step.
        before_step: Before each step.
        after_step: After each step.
    """

    def __init__(
        self,
        *,
        before_train: StepCallback = None,
        after_train: StepCallback = None,
        before_step: StepCallback = None,
        after_step: StepCallback = None,
    ) -> None:
        self._callbacks = {
            "before_train": before_train,
            "after_train": after_train,
            "before_step": before_step,
            "after_step": after_step,
        }

    def _call(self, when: str) -> None:
        callback = self._callbacks[when]
        if callback is not None:
            callback(self.trainer)

    def before_train(self) -> None:
        """Call the function for before the first step."""
        self._call("before_train")

    def after_train(self) -> None:
        """Call the function for after the last step."""
        self._call("after_train")

    def before_step(self) -> None:
        """Call the function for before each step."""
        self._call("before_step")

    def after_step(self) -> None:
        """Call the function for after each step."""
        self._call("after_step")


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


class PeriodicCheckpointer(FvcorePeriodicCheckpointer, HookBase):
    """Saves a checkpoint every so many steps and at the end; arguments as of fvcore's."""

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
        if self.trainer.iter + 1 >= self.trainer.max_iter:
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


class EvalHook(HookBase):
    """Evaluates every so many steps and at the end, and records the results.

    Args:
        eval_period: In steps; 0 for the end only.
        eval_function: Returns a nested dict of numbers.
        eval_after_train: Evaluate at the end too.
    """

    def __init__(
        self, eval_period: int, eval_function: Callable[[], Any], eval_after_train: bool = True
    ) -> None:
        self._period = eval_period
        self._function = eval_function
        self._eval_after_train = eval_after_train

    def after_step(self) -> None:
        """Evaluate, if it is time."""
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._evaluate()

    def after_train(self) -> None:
        """Evaluate, unless the training failed."""
        if self._eval_after_train and self.trainer.iter + 1 >= self.trainer.max_iter:
            self._evaluate()

    def _evaluate(self) -> None:
        results = self._function()
        if results:
            if not isinstance(results, Mapping):
                raise TypeError(
                    f"An evaluation must return a dict; found {type(results).__name__}."
                )
            flat = flatten_results_dict(results)
            self.trainer.storage.put_scalars(
                **{name: _number(name, value) for name, value in flat.items()}, smoothing_hint=False
            )
        # Processes without results wait for the one that has them.
        comm.synchronize()


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"An evaluation must return a nested dict of numbers; found {name}: {value!r}."
        ) from error


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

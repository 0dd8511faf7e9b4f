"""The steps of a training, and under detectron2's path the loop around them."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from d2seg.core.engine.loop import HookBase, TrainerBase
from d2seg.core.ops.waiting import to_numbers
from d2seg.core.runtime import comm
from d2seg.core.runtime.events import get_event_storage

__all__ = ["AMPTrainer", "HookBase", "SimpleTrainer", "TrainerBase"]


def _sum_of(loss_dict: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of losses.

    Raises:
        ValueError: There are none.
    """
    if not loss_dict:
        raise ValueError("The model returned no losses; in training mode it must return some.")
    return functools.reduce(torch.add, loss_dict.values())


class SimpleTrainer(TrainerBase):
    """The usual step: load, forward, backward, update.

    Args:
        model: Returns a dict of losses, or one loss, in training mode.
        data_loader: Endless.
        optimizer: Updates the parameters.
        gather_metric_period: Metrics of all processes are collected every so many steps.
        zero_grad_before_forward: Clear gradients before the forward instead of after it.
        async_write_metrics: Accepted as in detectron2; metrics are written at once.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        async_write_metrics: bool = False,
    ) -> None:
        super().__init__()
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.gather_metric_period = gather_metric_period
        self.zero_grad_before_forward = zero_grad_before_forward
        self.async_write_metrics = async_write_metrics
        self._batches: Iterator[Any] | None = None

    def run_step(self) -> None:
        """Do one step and record its losses."""
        data, data_time = self._next_batch()
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        loss_dict = self._losses(data)
        if not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        _sum_of(loss_dict).backward()
        self.after_backward()
        self._write_metrics(loss_dict, data_time)
        self.optimizer.step()

    def _next_batch(self) -> tuple[Any, float]:
        if not self.model.training:
            raise RuntimeError(f"{type(self).__name__} trains, but the model is in eval mode.")
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        return data, time.perf_counter() - start

    @property
    def _data_loader_iter(self) -> Iterator[Any]:
        # Under detectron2's name: subclasses with a step of their own take batches from here.
        if self._batches is None:
            self._batches = iter(self.data_loader)
        return self._batches

    def _losses(self, data: Any) -> dict[str, Tensor]:
        losses = self.model(data)
        return {"total_loss": losses} if isinstance(losses, Tensor) else dict(losses)

    def reset_data_loader(self, data_loader_builder: Callable[[], Iterable[Any]]) -> None:
        """Replace the data loader by a new one, the old one being released first.

        Args:
            data_loader_builder: Makes the new one; called when the old one is gone.
        """
        self._batches = None
        del self.data_loader
        self.data_loader = data_loader_builder()

    def _write_metrics(
        self,
        loss_dict: Mapping[str, Tensor],
        data_time: float,
        prefix: str = "",
        iter: int | None = None,
    ) -> None:
        # Name and arguments are detectron2's: steps of subclasses call it.
        iteration = self.iter if iter is None else iter
        if (iteration + 1) % self.gather_metric_period == 0:
            SimpleTrainer.write_metrics(loss_dict, data_time, iteration, prefix)

    @staticmethod
    def write_metrics(
        loss_dict: Mapping[str, Tensor], data_time: float, cur_iter: int, prefix: str = ""
    ) -> None:
        """Record the losses of all processes, on average, in the active storage.

        Args:
            loss_dict: Tensors of one number each, with the same names in every process.
            data_time: Seconds spent waiting for the batch; the slowest process's is recorded.
            cur_iter: The iteration they belong to.
            prefix: Comes before ``total_loss``.

        Raises:
            FloatingPointError: The sum of the losses is not finite.
        """
        own = to_numbers(loss_dict)
        gathered = comm.gather({**own, "data_time": data_time})
        if not comm.is_main_process():
            return
        storage = get_event_storage()
        slowest = max(one.pop("data_time") for one in gathered)
        storage.put_scalar("data_time", slowest, cur_iter=cur_iter)
        metrics = {name: float(np.mean([one[name] for one in gathered])) for name in own}
        total = sum(metrics.values())
        if not np.isfinite(total):
            raise FloatingPointError(
                f"The losses of iteration {cur_iter} are not finite: {metrics}. Lower "
                "SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS, or look for broken annotations."
            )
        storage.put_scalar(f"{prefix}total_loss", total, cur_iter=cur_iter)
        if len(metrics) > 1:
            for name, value in metrics.items():
                storage.put_scalar(name, value, cur_iter=cur_iter)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loop and the optimizer."""
        return {**super().state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of the loop and the optimizer."""
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])


class AMPTrainer(SimpleTrainer):
    """`SimpleTrainer` with the forward in half precision and scaled gradients.

    Args:
        model: As of `SimpleTrainer`; not a DataParallel or a DistributedDataParallel over several
            devices in one process.
        data_loader: Likewise.
        optimizer: Likewise.
        gather_metric_period: Likewise.
        zero_grad_before_forward: Likewise.
        grad_scaler: Scales the loss against underflow; by default one of the model's device.
        precision: ``torch.float16`` or ``torch.bfloat16``.
        log_grad_scaler: Record the scale as a metric.
        async_write_metrics: As of `SimpleTrainer`.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        grad_scaler: Any = None,
        precision: torch.dtype = torch.float16,
        log_grad_scaler: bool = False,
        async_write_metrics: bool = False,
    ) -> None:
        if isinstance(model, DataParallel) or (
            isinstance(model, DistributedDataParallel) and len(model.device_ids or [0]) > 1
        ):
            raise ValueError("AMPTrainer needs one device for each process.")
        super().__init__(
            model, data_loader, optimizer, gather_metric_period, zero_grad_before_forward
        )
        self.device_type = next(model.parameters()).device.type
        self.grad_scaler = grad_scaler or torch.amp.GradScaler(self.device_type)
        self.precision = precision
        self.log_grad_scaler = log_grad_scaler

    def run_step(self) -> None:
        """Do one step and record its losses."""
        data, data_time = self._next_batch()
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        with torch.autocast(self.device_type, dtype=self.precision):
            loss_dict = self._losses(data)
        if not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        self.grad_scaler.scale(_sum_of(loss_dict)).backward()
        if self.log_grad_scaler:
            get_event_storage().put_scalar("grad_scaler", self.grad_scaler.get_scale())
        self.after_backward()
        self._write_metrics(loss_dict, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loop, the optimizer and the scaler."""
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over the state of the loop, the optimizer and the scaler."""
        super().load_state_dict(state_dict)
        self.grad_scaler.load_state_dict(state_dict["grad_scaler"])

"""One step of a training: load, forward and backward in parts, update."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from d2seg.framework import SimpleTrainer, comm
from d2seg.train.loader import TrainLoader, seed_everything

_STEP_STREAM = 1
"""Keeps the random numbers of steps apart from those of images, which share the seed."""


class TrainStep(SimpleTrainer):
    """Random numbers of a step depend on the seed, the iteration and the process alone.

    Args:
        model: Returns a dict of losses in training mode.
        data_loader: Where the batches come from.
        optimizer: Updates the parameters.
        after_backward: Called between the gradients and their use.
        accumulation_steps: A batch goes through the model in so many parts of equal size; losses
            and gradients are means over the parts.
        half: Run the forward in ``torch.float16`` or ``torch.bfloat16`` where that is safe; None
            for float32.
        nan_guard: Check the losses of each part before its backward.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: TrainLoader,
        optimizer: torch.optim.Optimizer,
        *,
        after_backward: Callable[[], None],
        accumulation_steps: int = 1,
        half: torch.dtype | None = None,
        nan_guard: bool = False,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.seed = data_loader.seed
        self._on_gradients = after_backward
        self._parts = accumulation_steps
        self._nan_guard = nan_guard
        self._device = next(model.parameters()).device.type
        self._half = half
        # bfloat16 has the range of float32, and needs no scaling.
        self._scaler = torch.amp.GradScaler(self._device, enabled=half == torch.float16)

    def run_step(self) -> None:
        """Do one step and record its losses.

        Raises:
            ValueError: An image of the batch cannot be loaded.
            FloatingPointError: A loss is not finite.
        """
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        seed_everything(self.seed, _STEP_STREAM, comm.get_rank(), self.iter)
        self.optimizer.zero_grad()
        size = len(batch) // self._parts
        losses = [
            self._backward(batch[part * size : (part + 1) * size], is_last=part == self._parts - 1)
            for part in range(self._parts)
        ]
        self._on_gradients()
        means = {name: torch.stack([one[name] for one in losses]).mean() for name in losses[0]}
        self._write_metrics(means, data_time)
        self._scaler.step(self.optimizer)
        self._scaler.update()

    def _backward(self, part: Sequence[dict[str, Any]], is_last: bool) -> dict[str, Tensor]:
        with self._without_reducing() if not is_last else nullcontext():
            try:
                with torch.autocast(self._device, self._half, enabled=self._half is not None):
                    losses = self.model(part)
            except FloatingPointError as error:  # what a model itself has checked
                raise FloatingPointError(
                    f"Iteration {self.iter}: {error} {_images_in_words(part)}"
                ) from error
            if self._nan_guard:
                _raise_if_not_finite(losses, part, self.iter)
            total = torch.stack(list(losses.values())).sum() / self._parts
            self._scaler.scale(total).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _without_reducing(self) -> AbstractContextManager[Any]:
        """Leave gradients in each process until the last part, where there are several."""
        if isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loop, the optimizer, the scaler and the random numbers."""
        state = {**super().state_dict(), "seed": self.seed}
        return {**state, "grad_scaler": self._scaler.state_dict()} if self._half else state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over such a state, or that of a trainer of the framework."""
        super().load_state_dict(state_dict)
        self.seed = state_dict.get("seed", self.seed)
        if self._half and state_dict.get("grad_scaler"):
            self._scaler.load_state_dict(state_dict["grad_scaler"])


def _raise_if_not_finite(
    losses: Mapping[str, Tensor], part: Sequence[dict[str, Any]], iteration: int
) -> None:
    values = {name: float(loss.detach()) for name, loss in losses.items()}
    if all(torch.tensor(list(values.values())).isfinite()):
        return
    raise FloatingPointError(
        f"The losses of iteration {iteration} are not finite: {values}. {_images_in_words(part)} "
        "Check them with `d2seg check-data`; if they are sound, lower SOLVER.BASE_LR, lengthen "
        "SOLVER.WARMUP_ITERS or enable SOLVER.CLIP_GRADIENTS. The weights are those before this "
        "step."
    )


def _images_in_words(part: Sequence[dict[str, Any]]) -> str:
    # An image that objects were pasted from counts as well.
    keys = ("file_name", "pasted_from")
    names = ", ".join(str(image[key]) for image in part for key in keys if key in image)
    return f"The images are {names}."

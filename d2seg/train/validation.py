"""Losses on images that are not trained on."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from d2seg.framework import EventStorage, HookBase, comm
from d2seg.train.loader import seed_everything

PREFIX = "val_"


class ValidationLoss(HookBase):
    """Records the losses on a data set as ``val_total_loss``, ``val_loss_cls`` and so on.

    The model is in training mode, without which it has no losses, but its norms keep and use their
    running statistics, and the same random numbers are drawn each time.

    Args:
        period: Iterations between two times; also at the end.
        model: Returns the model that is evaluated.
        batches: Ground truth included; gone through once each time. Each process has its own.
    """

    def __init__(
        self, period: int, model: Callable[[], nn.Module], batches: Iterable[list[Any]]
    ) -> None:
        self._period, self._model, self._batches = period, model, batches

    def after_step(self) -> None:
        """Compute the losses, if it is time."""
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            losses = compute_losses(self._model(), self._batches)
            if comm.is_main_process():
                self.trainer.storage.put_scalars(**losses, smoothing_hint=False)


def compute_losses(model: nn.Module, batches: Iterable[list[Any]]) -> dict[str, float]:
    """Return mean losses over the images of all processes, by name with ``val_`` before it.

    Args:
        model: Left in the mode it is in.
        batches: Of this process.
    """
    modes = {module: module.training for module in model.modules()}
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    sums: dict[str, float] = defaultdict(float)
    images = 0
    # What the model records about these images is no part of the training's metrics.
    with torch.no_grad(), torch.random.fork_rng(), EventStorage():
        for number, batch in enumerate(batches):
            seed_everything(number)
            for name, loss in getattr(model, "module", model)(batch).items():
                sums[name] += float(loss) * len(batch)
            images += len(batch)
    for module, training in modes.items():
        module.training = training
    return _mean_of_all(sums, images)


def _mean_of_all(sums: dict[str, float], images: int) -> dict[str, float]:
    gathered = comm.all_gather((dict(sums), images))
    total = max(sum(count for _, count in gathered), 1)
    names = sorted({name for one, _ in gathered for name in one})
    means = {name: sum(one.get(name, 0.0) for one, _ in gathered) / total for name in names}
    means["total_loss"] = sum(means.values())
    return {f"{PREFIX}{name}": value for name, value in means.items()}

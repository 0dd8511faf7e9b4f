"""An exponential moving average of the weights (arXiv:1703.01780)."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from d2seg.framework import HookBase
from d2seg.train.best import WeightsWriter


class MovingAverage(HookBase):
    """Follows the weights after each step; buffers are those of the model.

    Args:
        model: As it is trained.
        decay: Share of the average that stays in a step, from 0 to below 1, such as 0.999.
        folder: Where ``model_ema.pth`` goes at the end.
        extra: More entries of the file, such as class names.
    """

    def __init__(
        self,
        model: nn.Module,
        decay: float,
        folder: str = "",
        extra: dict[str, Any] | None = None,
    ) -> None:
        self._source = model.module if isinstance(model, DistributedDataParallel) else model
        self._folder, self._extra = folder, extra or {}
        self._average = AveragedModel(self._source, multi_avg_fn=get_ema_multi_avg_fn(decay))

    @property
    def model(self) -> nn.Module:
        """The model with the averaged weights."""
        return self._average.module

    def before_train(self) -> None:
        """Begin with the weights that the training begins with, unless there is an average."""
        if self._average.n_averaged == 0:
            self._average.update_parameters(self._source)

    def after_train(self) -> None:
        """Write the average, unless the training failed."""
        if self.trainer.iter >= self.trainer.max_iter:
            self.save()

    def save(self) -> None:
        """Write the model with the averaged weights as ``model_ema.pth``."""
        WeightsWriter(self.model, self._folder).save("model_ema", **self._extra)

    def after_step(self) -> None:
        """Take in the weights of this step."""
        self._average.update_parameters(self._source)

    def state_dict(self) -> dict[str, Any]:
        """Return the average."""
        return self._average.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over an average."""
        self._average.load_state_dict(state_dict)

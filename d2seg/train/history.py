"""The recent metrics of a training, kept over a restart."""

from collections.abc import Mapping
from typing import Any

from d2seg.framework import HookBase


class RecentMetrics(HookBase):
    """Saves the last values of noisy metrics with the checkpoint, so that their medians go on.

    Args:
        window: So many values of each.
    """

    def __init__(self, window: int = 20) -> None:
        self._window = window
        self._saved: Mapping[str, Any] = {}

    def before_train(self) -> None:
        """Put the saved values into the storage."""
        for name, values in self._saved.items():
            for value, iteration in values:
                self.trainer.storage.put_scalar(name, value, cur_iter=int(iteration))

    def state_dict(self) -> dict[str, Any]:
        """Return the last values, by name."""
        storage = self.trainer.storage
        return {
            name: [list(pair) for pair in storage.history(name).values()[-self._window :]]
            for name, is_noisy in storage.smoothing_hints().items()
            if is_noisy
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keep the values until the training begins."""
        self._saved = state_dict

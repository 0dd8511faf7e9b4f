"""When a training is evaluated."""

from collections.abc import Callable, Mapping
from typing import Any

from d2seg.core.engine.loop import HookBase
from d2seg.core.evaluation.testing import flatten_results_dict
from d2seg.core.runtime import comm


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
        if self._eval_after_train and self.trainer.iter >= self.trainer.max_iter:
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

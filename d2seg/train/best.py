"""Keeping the best weights, and stopping when they no longer get better."""

import logging
import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from d2seg.core.runtime.untrusted.parts import explain
from d2seg.core.runtime.untrusted.torch_files import load_torch
from d2seg.framework import DetectionCheckpointer, HookBase, comm, flatten_results_dict

logger = logging.getLogger(__name__)

BEST_NAME = "model_best"


class StopTraining(BaseException):
    """Raised by a hook to end a training early.

    Like KeyboardInterrupt no Exception: what handles and logs failures is to let it pass.
    """


class WeightsWriter(DetectionCheckpointer):
    """Writes weights that a run does not go on from: the last checkpoint stays the last."""

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Do nothing."""


class KeepBest(HookBase):
    """Writes ``model_best.pth`` when a metric is better than ever; may end the training.

    The best value and its iteration are in the file itself, so that a resumed run knows them; what
    was found after the iteration it resumes from will be found again.

    Args:
        model: Returns the model whose weights are written.
        folder: Where the file goes.
        period: Iterations between evaluations.
        metric: Its name in the event storage, such as ``segm/AP``.
        mode: ``max`` or ``min``: what is better.
        patience: Stop after so many evaluations without a better value, once there is one; 0:
            never.
        extra: More entries of the file, such as class names.
    """

    def __init__(
        self,
        model: Callable[[], nn.Module],
        folder: str,
        *,
        period: int,
        metric: str,
        mode: str = "max",
        patience: int = 0,
        extra: dict[str, object] | None = None,
    ) -> None:
        self._model, self._folder, self._period = model, Path(folder), period
        self._metric, self._sign, self._patience = metric, 1 if mode == "max" else -1, patience
        self._extra = extra or {}
        self.best_value: float | None = None
        self.best_iter = -1

    def before_train(self) -> None:
        """Learn the best value so far from the file, if the run is resumed.

        Raises:
            StopTraining: The run had ended for lack of a better value.
        """
        path = self._folder / f"{BEST_NAME}.pth"
        if self.trainer.start_iter == 0 or not path.is_file():
            return
        kept = _read_kept(path)
        if kept.get("metric") == self._metric and kept["iteration"] < self.trainer.start_iter:
            self.best_value, self.best_iter = kept["value"], kept["iteration"]
            logger.info("The best %s so far is %.4f.", self._metric, self.best_value)
            if not self.trainer.has_open_step:  # then one more evaluation is to come
                self._stop_if_hopeless(self.trainer.start_iter - 1)

    def after_step(self) -> None:
        """Look at the metric after an evaluation.

        Raises:
            StopTraining: It has not been better for too long.
            ValueError: The evaluation gives no metric of this name.
        """
        done = self.trainer.iter + 1
        if done % self._period == 0 and done != self.trainer.max_iter:
            self._look()
            self._stop_if_hopeless(self.trainer.iter)

    def after_train(self) -> None:
        """Look at the metric of the last evaluation, unless the training failed.

        Raises:
            ValueError: The evaluation gives no metric of this name.
        """
        if self.trainer.iter >= self.trainer.max_iter:
            self._look()

    def _look(self) -> None:
        value, mistake = comm.all_gather(self._latest())[0]
        if mistake:
            raise ValueError(mistake)
        if value is None or not math.isfinite(value):
            return
        if self.best_value is not None and self._sign * (value - self.best_value) <= 0:
            return
        # After the end the trainer is one iteration ahead.
        iteration = min(self.trainer.iter, self.trainer.max_iter - 1)
        self.best_value, self.best_iter = value, iteration
        logger.info("%s is best so far: %.4f", self._metric, value)
        WeightsWriter(self._model(), str(self._folder)).save(
            BEST_NAME, metric=self._metric, value=value, iteration=iteration, **self._extra
        )

    def _latest(self) -> tuple[float | None, str]:
        """Return the value, and what is wrong with its name; only the main process knows."""
        latest = self.trainer.storage.latest()
        if not comm.is_main_process() or self._metric in latest:
            return (float(latest[self._metric][0]) if self._metric in latest else None), ""
        results = getattr(self.trainer, "_last_eval_results", None) or {}
        known = [*flatten_results_dict(results), *(name for name in latest if "val_" in name)]
        sentence = (
            f"The evaluation gives no {self._metric} (TRAIN.BEST_METRIC); it gives "
            f"{', '.join(known) or 'nothing'}."
        )
        if self._is_complete(results):
            return None, sentence
        logger.warning(sentence)
        return None, ""

    def _is_complete(self, results: Mapping[str, Any]) -> bool:
        """Tell whether results have all names that they will ever have.

        Without detections, as early in a training, there is no number and not every task.
        """
        of_data_set = results.get(self._metric.partition("/")[0])
        if isinstance(of_data_set, Mapping):
            results = of_data_set
        elif self._metric.startswith("val_"):
            return True  # losses are always there, or never
        return any(math.isfinite(number) for number in flatten_results_dict(results).values())

    def _stop_if_hopeless(self, iteration: int) -> None:
        waited = (iteration - self.best_iter) // self._period
        if self._patience and self.best_value is not None and waited >= self._patience:
            raise StopTraining(
                f"{self._metric} has not been better than {self.best_value:.4f} of iteration "
                f"{self.best_iter} for {waited} evaluations (TRAIN.PATIENCE)."
            )


def _read_kept(path: Path) -> dict[str, Any]:
    try:
        kept = load_torch(path, mapped=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"'{path}' cannot be read: it {explain(error)}.") from error
    return kept if isinstance(kept, dict) else {}

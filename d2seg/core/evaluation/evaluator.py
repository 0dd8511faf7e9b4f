"""What an evaluator is, and the loop that feeds it."""

import logging
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from d2seg.core.runtime.comm import get_world_size, is_main_process

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOGS = 10.0

Outputs = list[dict[str, Any]]
"""One dict per image: a model's inputs, or its outputs."""


class DatasetEvaluator(ABC):
    """Collects what a model predicts, image by image, and measures it in the end."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything; called before the first image."""

    @abstractmethod
    def process(self, inputs: Outputs, outputs: Outputs) -> None:
        """Take the predictions for some images.

        Args:
            inputs: What the model was given, one dict per image.
            outputs: What it returned, one dict per image, in the same order.
        """

    @abstractmethod
    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Measure.

        Returns:
            For each task its metrics by name, such as ``{"bbox": {"AP": 53.2}}``.
        """


class DatasetEvaluators(DatasetEvaluator):
    """Several evaluators that see the same predictions."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator]) -> None:
        """Combine these evaluators; their tasks must differ."""
        self._evaluators = list(evaluators)

    def reset(self) -> None:
        """Reset every evaluator."""
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: Outputs, outputs: Outputs) -> None:
        """Give the predictions to every evaluator."""
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Return the metrics of all evaluators.

        Raises:
            ValueError: Two evaluators measure a task of the same name.
        """
        results: OrderedDict[str, dict[str, float]] = OrderedDict()
        for evaluator in self._evaluators:
            for task, metrics in (evaluator.evaluate() or {}).items():
                if task in results:
                    raise ValueError(f"Two evaluators measure the task '{task}'; keep one of them.")
                results[task] = metrics
        return results


def inference_on_dataset(
    model: Callable[[Outputs], Outputs],
    data_loader: Iterable[Outputs],
    evaluator: DatasetEvaluator | Sequence[DatasetEvaluator] | None,
) -> dict[str, dict[str, float]]:
    """Run a model on every image and evaluate what it returns.

    Args:
        model: Anything that maps a list of input dicts to a list of output dicts. A module is put
            into evaluation mode meanwhile.
        data_loader: Yields lists of input dicts.
        evaluator: One or several evaluators; None to run the model only.

    Returns:
        The metrics of every task; empty in processes other than the first.
    """
    if not isinstance(evaluator, DatasetEvaluator):
        evaluator = DatasetEvaluators(evaluator or [])
    evaluator.reset()
    clock = _Clock(data_loader)
    with ExitStack() as stack:
        if isinstance(model, nn.Module):
            stack.enter_context(inference_context(model))
        stack.enter_context(torch.no_grad())
        for inputs in data_loader:
            with clock.running():
                outputs = model(inputs)
            evaluator.process(inputs, outputs)
            clock.count(len(inputs))
    clock.report()
    return evaluator.evaluate() or {}


@contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and back into the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


class _Clock:
    """Measures the time a model takes per image and logs progress now and then."""

    def __init__(self, data_loader: Iterable[Any]) -> None:
        self._num_batches = len(data_loader) if isinstance(data_loader, Sized) else None
        self._batches = self._images = 0
        self._seconds = 0.0
        self._last_log = time.perf_counter()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure the block; work queued on a GPU is waited for."""
        start = time.perf_counter()
        yield
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self._seconds += time.perf_counter() - start

    def count(self, num_images: int) -> None:
        """Note that a batch is done."""
        self._batches += 1
        self._images += num_images
        if time.perf_counter() - self._last_log > _SECONDS_BETWEEN_LOGS:
            self._last_log = time.perf_counter()
            total = "?" if self._num_batches is None else self._num_batches
            logger.info("Inference: batch %d of %s, %s", self._batches, total, self._speed())

    def report(self) -> None:
        """Log the total."""
        if is_main_process():
            logger.info(
                "Inference done: %d images, %s, %d process(es).",
                self._images,
                self._speed(),
                get_world_size(),
            )

    def _speed(self) -> str:
        return f"{self._seconds / max(self._images, 1):.4f} s per image"

"""What an evaluator is, and the loop that feeds it."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from d2seg.core.data.errors import InvalidArgumentError
from d2seg.core.runtime.comm import get_world_size, is_main_process

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOGS = 10.0
_MOMENTS = ("on_start", "before_inference", "after_inference", "on_end")

Outputs = list[dict[str, Any]]
"""One dict per image: a model's inputs, or its outputs."""


class DatasetEvaluator:
    """Collects what a model predicts, image by image, and measures it in the end.

    A subclass defines what it needs; what it leaves out does nothing.
    """

    def reset(self) -> None:
        """Forget everything; called before the first image."""
        return

    def process(self, inputs: Outputs, outputs: Outputs) -> None:
        """Take the predictions for some images.

        Args:
            inputs: What the model was given, one dict per image.
            outputs: What it returned, one dict per image, in the same order.
        """
        return

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Measure.

        Returns:
            For each task its metrics by name, such as ``{"bbox": {"AP": 53.2}}``.
        """
        return None


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
        """Return the metrics of all evaluators; none in processes other than the first.

        Raises:
            InvalidArgumentError: Two evaluators measure a task of the same name.
        """
        results: OrderedDict[str, dict[str, float]] = OrderedDict()
        for evaluator in self._evaluators:
            # Every process has to call this: an evaluator may wait for the others there.
            metrics_by_task = evaluator.evaluate() or {}
            for task, metrics in metrics_by_task.items() if is_main_process() else ():
                if task in results:
                    raise InvalidArgumentError(
                        f"Two evaluators measure the task '{task}'; keep one of them."
                    )
                results[task] = metrics
        return results


def inference_on_dataset(
    model: Callable[[Outputs], Outputs],
    data_loader: Iterable[Outputs],
    evaluator: DatasetEvaluator | Sequence[DatasetEvaluator] | None,
    callbacks: Mapping[str, Callable[[], Any]] | None = None,
) -> dict[str, dict[str, float]]:
    """Run a model on every image and evaluate what it returns.

    Args:
        model: Anything that maps a list of input dicts to a list of output dicts. A module is put
            into evaluation mode meanwhile.
        data_loader: Yields lists of input dicts.
        evaluator: One or several evaluators; None to run the model only.
        callbacks: Functions without arguments to call at ``on_start``, ``before_inference`` and
            ``after_inference`` (around each batch), and ``on_end``.

    Returns:
        The metrics of every task; empty in processes other than the first.

    Raises:
        ValueError: A callback has another name.
    """
    if not isinstance(evaluator, DatasetEvaluator):
        evaluator = DatasetEvaluators(evaluator or [])
    call = _caller(callbacks or {})
    evaluator.reset()
    clock = _Clock(data_loader)
    with ExitStack() as stack:
        if isinstance(model, nn.Module):
            stack.enter_context(inference_context(model))
        stack.enter_context(torch.no_grad())
        call("on_start")
        for inputs in data_loader:
            call("before_inference")
            with clock.running():
                outputs = model(inputs)
            call("after_inference")
            evaluator.process(inputs, outputs)
            clock.count(len(inputs))
        call("on_end")
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


def _caller(callbacks: Mapping[str, Callable[[], Any]]) -> Callable[[str], Any]:
    unknown = [name for name in callbacks if name not in _MOMENTS]
    if unknown:
        raise ValueError(
            f"inference_on_dataset calls back at {', '.join(_MOMENTS)}; found '{unknown[0]}'."
        )
    return lambda moment: callbacks[moment]() if moment in callbacks else None


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

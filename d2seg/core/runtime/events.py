"""The event stack: where a training step leaves its numbers and pictures for those who keep them.

Code that produces numbers asks for the innermost active storage; code above decides what happens
with them. Entering an :class:`EventStorage` with ``with`` makes it the innermost one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from types import TracebackType
from typing import Any

import numpy as np
import torch
from fvcore.common.history_buffer import HistoryBuffer
from torch import Tensor

_active_storages: list["EventStorage"] = []


def get_event_storage() -> "EventStorage":
    """Return the innermost active storage.

    Raises:
        RuntimeError: No storage is active.
    """
    if not _active_storages:
        raise RuntimeError(
            "No EventStorage is active; run this code inside `with EventStorage(start_iter):`, "
            "or ask has_event_storage() first."
        )
    return _active_storages[-1]


def has_event_storage() -> bool:
    """Tell whether the caller runs inside a ``with EventStorage():`` block."""
    return bool(_active_storages)


class EventStorage:
    """Scalars with their history, and images, of one run; numbered by the current iteration.

    Attributes:
        start_iter: The iteration it began with.
    """

    def __init__(self, start_iter: int = 0) -> None:
        """Start an empty storage at iteration ``start_iter``."""
        self._iter = self.start_iter = start_iter
        self._prefix = ""
        self._histories: dict[str, HistoryBuffer] = {}
        self._latest: dict[str, tuple[float, int]] = {}
        self._smoothing_hints: dict[str, bool] = {}
        self._images: list[tuple[str, Tensor | np.ndarray, int]] = []
        self._histograms: list[dict[str, Any]] = []

    def put_scalar(
        self,
        name: str,
        value: float | Tensor,
        smoothing_hint: bool = True,
        cur_iter: int | None = None,
    ) -> None:
        """Record one number under ``name`` (within the current name scope).

        Args:
            name: What the number is, such as ``fast_rcnn/cls_accuracy``.
            value: The number, or a tensor of one element.
            smoothing_hint: Whether a writer should show a running median of it: true for noisy
                numbers such as losses, false for exact ones such as a learning rate.
            cur_iter: The iteration it belongs to; the storage's own when None.

        Raises:
            ValueError: The name was recorded before with the other ``smoothing_hint``.
        """
        name = self._prefix + name
        if self._smoothing_hints.setdefault(name, smoothing_hint) != smoothing_hint:
            raise ValueError(
                f"Scalar '{name}' was recorded with smoothing_hint={not smoothing_hint} before and "
                f"now with {smoothing_hint}; use one of them for all its values."
            )
        iteration = self._iter if cur_iter is None else cur_iter
        number = float(value.detach() if isinstance(value, Tensor) else value)
        self._histories.setdefault(name, HistoryBuffer()).update(number, iteration)
        self._latest[name] = (number, iteration)

    def put_scalars(
        self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **scalars: float | Tensor
    ) -> None:
        """Record several numbers at once, given by keyword; see :meth:`put_scalar`."""
        for name, value in scalars.items():
            self.put_scalar(name, value, smoothing_hint, cur_iter)

    def put_image(self, img_name: str, img_tensor: Tensor | np.ndarray) -> None:
        """Record a picture of the current iteration.

        Args:
            img_name: Its name; name scopes do not apply.
            img_tensor: (3, H, W), float in 0..1 or uint8 in 0..255, RGB. Kept by reference.
        """
        self._images.append((img_name, img_tensor, self._iter))

    def put_histogram(self, hist_name: str, hist_tensor: Tensor, bins: int = 1000) -> None:
        """Record how the values of a tensor are distributed.

        Args:
            hist_name: Its name; name scopes do not apply.
            hist_tensor: Any shape; on any device.
            bins: How many intervals of equal width.

        Raises:
            ValueError: The tensor has no values.
        """
        if hist_tensor.numel() == 0:
            raise ValueError(f"Histogram '{hist_name}' needs a tensor with values; found none.")
        low, high = hist_tensor.min().item(), hist_tensor.max().item()
        values = hist_tensor.detach().float().flatten()
        counts = torch.histc(values, bins).cpu()
        edges = torch.linspace(low, high, bins + 1)
        self._histograms.append(
            {
                "tag": hist_name,
                "min": low,
                "max": high,
                "num": values.numel(),
                "sum": float(values.sum()),
                "sum_squares": float((values**2).sum()),
                "bucket_limits": edges[1:].tolist(),
                "bucket_counts": counts.tolist(),
                "global_step": self._iter,
            }
        )

    def histograms(self) -> list[dict[str, Any]]:
        """Return all histograms since :meth:`clear_histograms`, as TensorBoard takes them."""
        return self._histograms

    def clear_histograms(self) -> None:
        """Forget the histograms, usually after a writer has written them."""
        self._histograms = []

    def history(self, name: str) -> HistoryBuffer:
        """Return every value recorded under the full name ``name``.

        Raises:
            KeyError: Nothing was recorded under this name.
        """
        if name not in self._histories:
            known = ", ".join(sorted(self._histories)) or "none"
            raise KeyError(f"No scalar '{name}' was recorded; recorded names: {known}.")
        return self._histories[name]

    def histories(self) -> dict[str, HistoryBuffer]:
        """Return every value of every scalar, by full name."""
        return self._histories

    def latest(self) -> dict[str, tuple[float, int]]:
        """Return the last value of every scalar and the iteration it belongs to."""
        return self._latest

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """Return :meth:`latest`, with the recent median in place of each noisy value.

        Args:
            window_size: How many iterations, ending with the last one that has a value, the median
                is over.
        """
        return {
            name: (self._smoothed(name, window_size), iteration)
            for name, (_, iteration) in self._latest.items()
        }

    def _smoothed(self, name: str, window_size: int) -> float:
        if not self._smoothing_hints[name]:
            return self._latest[name][0]
        return self._histories[name].median(self.count_samples(name, window_size))

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """Count the values of ``name`` within ``window_size`` iterations up to its last one.

        A scalar that is recorded only now and then has fewer values than iterations; a median over
        its last ``window_size`` *values* would reach back too far.
        """
        values = self.history(name).values()
        oldest = values[-1][1] - window_size
        return sum(1 for _ in takewhile(lambda entry: entry[1] > oldest, reversed(values)))

    def smoothing_hints(self) -> dict[str, bool]:
        """Return for every scalar whether a writer should smooth it."""
        return self._smoothing_hints

    def images(self) -> list[tuple[str, Tensor | np.ndarray, int]]:
        """Return name, picture and iteration of all pictures since :meth:`clear_images`."""
        return self._images

    def clear_images(self) -> None:
        """Forget the pictures, usually after a writer has written them."""
        self._images = []

    def step(self) -> None:
        """Go on to the next iteration."""
        self._iter += 1

    @property
    def iter(self) -> int:
        """The current iteration."""
        return self._iter

    @iter.setter
    def iter(self, iteration: int) -> None:
        self._iter = int(iteration)

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Put ``name/`` before the name of every scalar recorded inside the block.

        An inner scope takes the place of an outer one, as in detectron2.
        """
        outer, self._prefix = self._prefix, name.rstrip("/") + "/"
        try:
            yield
        finally:
            self._prefix = outer

    def __enter__(self) -> "EventStorage":
        _active_storages.append(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _active_storages.pop()

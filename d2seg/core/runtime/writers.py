"""Where the numbers of an EventStorage go: lines for people, JSON, TensorBoard."""

import datetime
import json
import logging
import math
import time
from collections import defaultdict
from functools import cached_property
from importlib.util import find_spec
from typing import IO, Any

import torch

from d2seg.core.runtime.events import EventStorage, get_event_storage, has_event_storage
from d2seg.core.runtime.files import PathManager, name_file


class EventWriter:
    """Base of what writes the active storage somewhere."""

    def write(self) -> None:
        """Write what is new in the active storage."""
        raise NotImplementedError(f"{type(self).__name__} must define write().")

    def close(self) -> None:
        """Release what the writer holds; nothing by default."""


def _last_written(by_this_writer: int, storage: EventStorage) -> int:
    """Return the last iteration that is written; what was taken over was, before the restart."""
    return max(by_this_writer, storage.start_iter - 1)


class JSONWriter(EventWriter):
    """Writes one JSON object a line: ``iteration`` and every scalar that is new.

    Numbers that are not finite become null: JSON has no others. The file is opened by the first
    write that has something to say.

    Args:
        json_file: Lines are appended to it.
        window_size: Iterations over which noisy scalars are smoothed (median).
    """

    def __init__(self, json_file: str, window_size: int = 20) -> None:
        self._path = json_file
        self._file: IO[str] | None = None
        self._window_size = window_size
        self._last_write = -1

    def write(self) -> None:
        """Append a line for every iteration that something was recorded at."""
        lines: dict[int, dict[str, float | None]] = defaultdict(dict)
        storage = get_event_storage()
        written = _last_written(self._last_write, storage)
        for name, (value, iteration) in storage.latest_with_smoothing_hint(
            self._window_size
        ).items():
            if iteration > written:
                lines[iteration][name] = value if math.isfinite(value) else None
        if not lines:
            return
        text = "".join(
            json.dumps({"iteration": iteration, **scalars}, sort_keys=True) + "\n"
            for iteration, scalars in sorted(lines.items())
        )
        try:
            self._append(text)
        except OSError as error:
            name_file(error, self._path)
            raise
        self._last_write = max(lines)

    def _append(self, text: str) -> None:
        if self._file is None:
            self._file = PathManager.open(self._path, "a")
        self._file.write(text)
        self._file.flush()

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


class TensorboardXWriter(EventWriter):
    """Writes scalars, images and histograms for TensorBoard.

    The event file is made by the first write. If the training was resumed, TensorBoard is told to
    forget what the interrupted run wrote of the iterations that are done again.

    Args:
        log_dir: Folder of the event files.
        window_size: Iterations over which noisy scalars are smoothed (median).
        **kwargs: As of ``torch.utils.tensorboard.SummaryWriter``.

    Raises:
        ImportError: tensorboard is not installed.
    """

    def __init__(self, log_dir: str, window_size: int = 20, **kwargs: Any) -> None:
        if find_spec("tensorboard") is None:
            raise ImportError(
                "TensorboardXWriter needs the package tensorboard: pip install tensorboard."
            )
        self._log_dir, self._options = log_dir, kwargs
        self._window_size = window_size
        self._last_write = -1

    @cached_property
    def _writer(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        start = get_event_storage().start_iter if has_event_storage() else 0
        is_resumed = start > 0 and self._last_write < 0
        options = {"purge_step": start if is_resumed else None, **self._options}
        return SummaryWriter(self._log_dir, **options)

    def write(self) -> None:
        """Write what is new, and take images and histograms out of the storage."""
        storage = get_event_storage()
        written = newest = _last_written(self._last_write, storage)
        for name, (value, step) in storage.latest_with_smoothing_hint(self._window_size).items():
            if step > written:
                self._writer.add_scalar(name, value, step)
                newest = max(newest, step)
        self._last_write = newest
        for name, picture, step in storage.images():
            self._writer.add_image(name, picture, step)
        storage.clear_images()
        for histogram in storage.histograms():
            self._writer.add_histogram_raw(**histogram)
        storage.clear_histograms()

    def close(self) -> None:
        """Flush and close the event file, if there is one; a later write opens another."""
        if "_writer" in self.__dict__:
            self._writer.close()
            del self._writer


TensorBoardXWriter = TensorboardXWriter
"""The same under the other spelling that detectron2's own tests use."""


class CommonMetricPrinter(EventWriter):
    """Logs a line for people: time left, iteration, losses, times, learning rate, memory.

    Args:
        max_iter: Iterations of the training, for the time left.
        window_size: Iterations over which losses and times are smoothed.
    """

    def __init__(self, max_iter: int | None = None, window_size: int = 20) -> None:
        # Programs written for detectron2 set up, filter and test this logger by its name.
        self.logger = logging.getLogger("detectron2.utils.events")
        self._max_iter = max_iter
        self._window_size = window_size
        self._last_write: tuple[int, float] | None = None

    def write(self) -> None:
        """Log the line; nothing after the last iteration."""
        storage = get_event_storage()
        if storage.iter == self._max_iter:
            return
        parts = [self._time_left(storage), f"iter: {storage.iter}"]
        known = storage.histories()
        losses = [name for name in known if "loss" in name]
        parts += [f"{name}: {self._recent(storage, name):.4g}" for name in losses]
        marked = [name for name in known if "[metric]" in name]
        parts += [f"{name}: {self._recent(storage, name):.4g}" for name in marked]
        for name in ("time", "data_time"):
            if name in known:
                parts.append(f"{name}: {self._recent(storage, name):.4f}")
                parts.append(f"last_{name}: {known[name].latest():.4f}")
        if "lr" in known:
            parts.append(f"lr: {known['lr'].latest():.5g}")
        if torch.cuda.is_available():
            parts.append(f"max_mem: {torch.cuda.max_memory_allocated() / 2**20:.0f}M")
        self.logger.info("  ".join(part for part in parts if part))

    def _recent(self, storage: EventStorage, name: str) -> float:
        return float(storage.history(name).median(storage.count_samples(name, self._window_size)))

    def _time_left(self, storage: EventStorage) -> str:
        now, last = time.perf_counter(), self._last_write
        self._last_write = (storage.iter, now)
        if self._max_iter is None:
            return ""
        left = self._max_iter - storage.iter - 1
        if "time" in storage.histories():
            seconds = storage.history("time").median(1000) * left
        elif last is not None and storage.iter > last[0]:
            seconds = (now - last[1]) / (storage.iter - last[0]) * left
        else:
            return ""
        storage.put_scalar("eta_seconds", seconds, smoothing_hint=False)
        return f"eta: {datetime.timedelta(seconds=int(seconds))}"

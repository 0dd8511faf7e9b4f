"""From pictures to what was found in them and how it looks, one after the other."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from d2seg.core.tracking.overlap import OverlapTracker
from d2seg.inputs import Source, Sources, read_ahead
from d2seg.predict.prediction import Prediction
from d2seg.predict.predictor import Predictor
from d2seg.predict.show.draw import Drawer

REMEMBERED_FRAMES = 10
"""An object of a video that was gone for so long gets a new colour."""


class Result(NamedTuple):
    """A picture and what was found in it.

    Attributes:
        source: Where it came from.
        pixels: (H, W, 3) uint8 RGB.
        found: Its objects.
        drawn: (H, W, 3) uint8 RGB, the picture with its objects.
    """

    source: Source
    pixels: np.ndarray
    found: Prediction
    drawn: np.ndarray


@dataclass
class Pace:
    """How fast it went.

    Attributes:
        images: How many pictures went through the model.
        objects: How many objects it found.
        batch_seconds: For each batch how long it took, with resizing, and how many pictures it had.
        failures: What could not be read, and why, each in a sentence that names the file.
    """

    images: int = 0
    objects: int = 0
    batch_seconds: list[tuple[float, int]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, seconds: float, finds: Sequence[Prediction]) -> None:
        """Note a batch and what was found in it."""
        self.images += len(finds)
        self.objects += sum(len(found) for found in finds)
        self.batch_seconds.append((seconds, len(finds)))

    @property
    def seconds_per_image(self) -> float:
        """The mean without the first batch, which pays for warming up, if there are others."""
        counted = self.batch_seconds[1:] or self.batch_seconds
        return sum(seconds for seconds, _ in counted) / max(sum(n for _, n in counted), 1)

    @property
    def recent_fps(self) -> float:
        """Pictures per second of the last ten batches."""
        recent = self.batch_seconds[-10:]
        return sum(n for _, n in recent) / max(sum(seconds for seconds, _ in recent), 1e-9)


def predict_sources(
    predictor: Predictor,
    sources: Iterable[Source],
    drawer: Drawer,
    pace: Pace,
    *,
    batch_size: int = 1,
    show_fps: bool = False,
) -> Iterator[Result]:
    """Find and draw the objects of pictures; no more of them are held than two batches.

    While the predictor works on a batch, the next one is read, except from a camera, whose pictures
    would grow old.

    In the frames of a video an object keeps its colour: that of the object of its class that its
    mask, or without masks its box, overlaps with an IoU of at least one half in the last ten
    frames.

    Args:
        predictor: Finds the objects.
        sources: Pictures and frames. One that cannot be read is noted in ``pace`` and passed over.
        drawer: Draws them.
        pace: Is filled in on the way.
        batch_size: How many pictures are read before they are given to the predictor.
        show_fps: Write on frames how many per second the predictor manages.
    """
    tracked = _Colors()
    pictures = _read(sources, pace)
    batches = iter(lambda: list(islice(pictures, batch_size)), [])
    for batch in read_ahead(batches) if isinstance(sources, Sources) else batches:
        start = time.perf_counter()
        finds = predictor([pixels for _, pixels in batch], "RGB")
        pace.add(time.perf_counter() - start, finds)
        note = f"{pace.recent_fps:.1f} FPS" if show_fps else ""
        for (source, pixels), found in zip(batch, finds, strict=True):
            drawn = drawer.draw(pixels, found, tracked.colors(source, found), note)
            yield Result(source, pixels, found, drawn)


def _read(sources: Iterable[Source], pace: Pace) -> Iterator[tuple[Source, np.ndarray]]:
    for source in sources:
        try:
            pixels = source.read("RGB")
        except (OSError, ValueError) as error:
            pace.failures.append(str(error))
            continue
        yield source, pixels


def peak_memory() -> str:
    """Say how much memory this process had at most, and of a GPU how much it used."""
    parts = []
    try:
        import resource
    except ImportError:  # Windows
        parts.append("unknown here")
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        parts.append(f"{peak / 1e6:.0f} MB")
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        parts.append(f"{torch.cuda.max_memory_allocated() / 1e6:.0f} MB of the GPU")
    return ", ".join(parts)


class _Colors:
    """Follows the objects of one video at a time."""

    def __init__(self) -> None:
        self._video: object = None
        self._tracker = OverlapTracker(REMEMBERED_FRAMES)

    def colors(self, source: Source, found: Prediction) -> list[int] | None:
        """Return a number for each object; None for a picture, whose objects have no past."""
        if source.frame is None:
            return None
        if source.path != self._video:
            self._video, self._tracker = source.path, OverlapTracker(REMEMBERED_FRAMES)
        regions = found.rle() if found.has_masks else found.boxes.numpy()
        return self._tracker.update(found.classes.tolist(), regions)

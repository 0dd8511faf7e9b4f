"""Videos: their frames one after the other, through PyAV (FFmpeg)."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from d2seg.framework import convert_PIL_to_numpy

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
"""Suffixes that make a file a video. A GIF is a picture: its first."""

_DIRECT = {"BGR": "bgr24", "RGB": "rgb24"}
"""FFmpeg's names of channel orders."""

logger = logging.getLogger(__name__)


class Frame(NamedTuple):
    """A frame's number in its video, from 0, and what returns its pixels in a channel order."""

    number: int
    reader: Callable[[str], np.ndarray]


def read_frames(path: Path, every: int = 1) -> Iterator[Frame]:
    """Decode a video once, in order; only the last frame that was yielded is held.

    Where the video is damaged, and if it cannot be opened, one more frame comes, whose reader
    raises a ValueError. A video that ends before the length it announces is logged.

    Args:
        path: A video file.
        every: Yield each ``every``-th frame, beginning with the first; the frames between are
            decoded, since others build on them, but not converted to pixels.

    Yields:
        Frames; their readers return (H, W, 3) uint8, upright, one pixel for each of the video
        also where it says that they are not square.
    """
    number = 0
    try:
        with _opened(path) as (container, stream):
            stream.thread_type = "AUTO"
            for number, frame in enumerate(container.decode(stream), start=1):
                if (number - 1) % every == 0:
                    yield Frame(number - 1, partial(_pixels, frame, path, number - 1))
            announced = stream.frames
    except ValueError as error:
        yield Frame(number, partial(_fail, path, number, error))
        return
    if number < announced:
        logger.warning("'%s' announces %d frames but has %d.", path, announced, number)


def count_frames(path: Path, every: int = 1) -> int | None:
    """Return how many frames a video says :func:`read_frames` will yield; None if it does not."""
    try:
        with _opened(path) as (_, stream):
            return -(-stream.frames // every) or None
    except ValueError:
        return None


def frame_rate(path: Path, every: int = 1) -> float | None:
    """Return how many of the frames that :func:`read_frames` yields are of a second, if known."""
    try:
        with _opened(path) as (_, stream):
            return float(stream.average_rate) / every if stream.average_rate else None
    except ValueError:
        return None


def require_pyav() -> Any:
    """Return the module ``av``.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError(
            'Reading videos needs the package av (PyAV): pip install "d2seg[video]".'
        ) from error
    return av


@contextmanager
def _opened(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """Open a video; whatever FFmpeg finds wrong with it, also later, becomes a ValueError."""
    av = require_pyav()
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError("it has no pictures")
            yield container, container.streams.video[0]
    except av.FFmpegError as error:
        raise ValueError(error.strerror) from error


def _pixels(frame: "VideoFrame", path: Path, number: int, channel_order: str) -> np.ndarray:
    if frame.is_corrupt:
        raise ValueError(f"Frame {number} of '{path}' is damaged.")
    if channel_order in _DIRECT:  # ten times as fast as by way of Pillow
        image = frame.to_ndarray(format=_DIRECT[channel_order])
    else:
        image = convert_PIL_to_numpy(frame.to_image(), channel_order)
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))


def _fail(path: Path, number: int, error: ValueError, channel_order: str) -> NoReturn:
    where = f"from frame {number} on" if number else "as a video"
    raise ValueError(f"'{path}' cannot be read {where} ({error}).") from error

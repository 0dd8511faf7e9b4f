"""One picture that can be read, and a name for what is made of it."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from d2seg.images import load_image
from d2seg.inputs.coco import AnnotatedBoxes

LONGEST_NAME = 180
"""In bytes; leaves room for a number and a suffix where a file name may have 255."""

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Source:
    """A picture: a file, or one frame of a video.

    Attributes:
        name: Differs from that of every other source also where case is ignored; fit for a file
            name on every system.
        path: The file.
        frame: The number of the frame in the video, from 0; None if the file is a picture.
        annotated: Its annotated objects; None if they were not asked for.
        frame_rate: Frames per second, those that are passed over not counted; None if the file is a
            picture or does not say.
        reader: Takes a channel order and returns the pixels; by default the file is read.
    """

    name: str
    path: Path
    frame: int | None = None
    annotated: AnnotatedBoxes | None = None
    frame_rate: float | None = None
    reader: Callable[[str], np.ndarray] | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """What to call the picture where something is said of it."""
        return self.name if self.frame is None else f"{self.path.name}, frame {self.frame}"

    def read(self, channel_order: str = "BGR") -> np.ndarray:
        """Return the pixels.

        Args:
            channel_order: ``BGR``, ``RGB`` or another value of ``INPUT.FORMAT``.

        Returns:
            (H, W, 3) uint8, upright: the rotation that EXIF or the video names is applied.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file or the frame is damaged, or is no picture at all.
        """
        if self.reader is not None:
            return self.reader(channel_order)
        return load_image(self.path, channel_order)


def file_safe(text: str) -> str:
    r"""Change a name as little as makes it a file name on Linux, macOS and Windows.

    Characters that one of them forbids, slashes between folders among them, become ``_``. Dots,
    spaces and slashes at the beginning go (the file would be hidden), and so do dots and spaces at
    the end. Names of devices (``con``) get a ``_`` in front. Too long names lose their beginning,
    since numbers are at the end. Composed and decomposed accents become the same.
    """
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", text).lstrip("./\\ "))
    name = name.encode()[-LONGEST_NAME:].decode(errors="ignore").strip(". ")
    return f"_{name}" if not name or _RESERVED.match(name) else name

"""A camera: its frames one after the other, through OpenCV.

FFmpeg could read cameras too, but as PyAV's wheels have it, it does so on no Linux.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from d2seg.framework import convert_PIL_to_numpy
from d2seg.inputs.source import Source

DEVICES = Path("/dev")
"""Where Linux lists cameras, as video0 and so on."""


class Camera:
    """Frames of a camera, for ever; one that was not taken in time is passed over by the camera.

    Args:
        number: Of the camera; the system counts from 0.

    Raises:
        ValueError: There is no such camera, or it cannot be opened.
        ImportError: OpenCV is not installed.
    """

    total = None
    """How many frames there are."""

    def __init__(self, number: int) -> None:
        if sys.platform == "linux" and not (DEVICES / f"video{number}").exists():
            found = sorted(path.name for path in DEVICES.glob("video*"))
            raise ValueError(
                f"There is no camera {number} ('{DEVICES / f'video{number}'}' does not exist); "
                f"cameras here: {', '.join(found) or 'none'}."
            )
        self.number = number
        self._capture: Any = _opencv().VideoCapture(number)
        if not self._capture.isOpened():
            raise ValueError(
                f"Camera {number} cannot be opened; is it plugged in, and does no other program "
                "use it?"
            )

    def __iter__(self) -> Iterator[Source]:
        """Yield frames until the camera gives no more; it is closed then."""
        try:
            count = 0
            while True:
                got, frame = self._capture.read()
                if not got:
                    return
                name = f"camera{self.number}_{count:06d}"
                yield Source(
                    name, Path(f"camera{self.number}"), count, reader=partial(_read, frame)
                )
                count += 1
        finally:
            self._capture.release()


def _read(bgr: np.ndarray, channel_order: str) -> np.ndarray:
    if channel_order == "BGR":
        return bgr
    rgb = np.ascontiguousarray(bgr[:, :, ::-1])
    if channel_order == "RGB":
        return rgb
    from PIL import Image

    converted: np.ndarray = convert_PIL_to_numpy(Image.fromarray(rgb), channel_order)
    return converted


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            'Cameras need the package opencv-python-headless: pip install "d2seg[camera]".'
        ) from error
    return cv2

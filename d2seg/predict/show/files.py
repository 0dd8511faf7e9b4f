"""Predictions as files: a picture for each image, a video for each video, and COCO's JSON."""

import json
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from d2seg.core.runtime.files import replace_when_complete
from d2seg.inputs import Source
from d2seg.inputs.video import require_pyav
from d2seg.predict.conversion import coco_dataset
from d2seg.predict.prediction import Prediction

RESULTS_FILE = "instances.json"
IMAGES_FILE = "images.json"
JPEG_QUALITY = 90


class PredictionFiles:
    """Writes to a folder as predictions come in; used as a context manager.

    Pictures are ``NAME.jpg``, videos ``NAME.mp4``. When the context ends, also before all is done,
    ``instances.json`` (COCO results) and ``images.json`` (the data set that they refer to) are
    written, and videos become complete.

    Args:
        folder: Where to write; it is made.
        frame_rate: Of the videos of a camera, and of those that do not say theirs.

    Attributes:
        written: The files, in the order in which they were begun.
    """

    def __init__(self, folder: Path, frame_rate: float = 25.0) -> None:
        self._folder = folder
        self._frame_rate = frame_rate
        self._open = ExitStack()
        self._video: tuple[Path, tuple[int, ...], _Video] | None = None
        self._names: list[str] = []
        self._sizes_hw: list[tuple[int, int]] = []
        self._results: list[dict[str, Any]] = []
        self._class_names: tuple[str, ...] = ()
        self.written: list[Path] = []

    def __enter__(self) -> "PredictionFiles":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What is open must be told of the error: half a video is not kept.
        self._open.__exit__(kind, error, trace)
        if error is None and self._names:
            self._write_json(RESULTS_FILE, self._results)
            dataset = coco_dataset(self._names, self._sizes_hw, self._class_names)
            self._write_json(IMAGES_FILE, dataset)

    def add(self, source: Source, picture: np.ndarray, found: Prediction) -> None:
        """Write one image, or the next frame of a video.

        Args:
            source: What it was.
            picture: (H, W, 3) uint8 RGB, what was drawn.
            found: Its objects.
        """
        if source.frame is None:
            path = self._folder / f"{source.name}.jpg"
            with replace_when_complete(path) as temporary:
                Image.fromarray(picture).save(temporary, quality=JPEG_QUALITY)
            self.written.append(path)
        else:
            self._add_frame(source, picture)
        self._names.append(source.path.name if source.frame is None else source.name)
        self._sizes_hw.append(found.image_size)
        self._results += found.to_coco(len(self._names))
        self._class_names = found.class_names

    def _add_frame(self, source: Source, picture: np.ndarray) -> None:
        height, width = picture.shape[:2]
        even = picture[: height // 2 * 2, : width // 2 * 2]  # H.264 asks for it
        if self._video is None or self._video[:2] != (source.path, even.shape):
            self._video = (source.path, even.shape, self._start_video(source, even))
        self._video[2].add(even)

    def _start_video(self, source: Source, picture: np.ndarray) -> "_Video":
        self._open.close()  # the video before is complete
        path = self._folder / f"{source.name.rpartition('_')[0]}.mp4"
        av = require_pyav()
        temporary = self._open.enter_context(replace_when_complete(path))
        self.written.append(path)
        rate = source.frame_rate or self._frame_rate
        video = _Video(av, temporary, rate, (picture.shape[0], picture.shape[1]))
        self._open.callback(video.close)
        return video

    def _write_json(self, name: str, content: Any) -> None:
        with replace_when_complete(self._folder / name) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")
        self.written.append(self._folder / name)


class _Video:
    """Writes H.264, which every browser plays."""

    def __init__(self, av: Any, path: Path, rate: float, size_hw: tuple[int, int]) -> None:
        self._av = av
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", Fraction(rate).limit_denominator(1001))
        self._stream.height, self._stream.width = size_hw
        self._stream.pix_fmt = "yuv420p"

    def add(self, picture: np.ndarray) -> None:
        """Write a frame (H, W, 3) uint8 RGB."""
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what the encoder holds back, and the index."""
        self._container.mux(self._stream.encode())
        self._container.close()

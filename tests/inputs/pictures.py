"""Small pictures and lossless videos for the tests of inputs."""

from pathlib import Path

import av
import numpy as np
from PIL import Image

SIZE_HW = (6, 10)
QUARTER_TURN_CLOCKWISE = (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)


def random_frames(number: int, size_hw: tuple[int, int] = SIZE_HW) -> list[np.ndarray]:
    """Return RGB pictures (H, W, 3) uint8, no two alike."""
    generator = np.random.default_rng(number)
    return [generator.integers(0, 256, (*size_hw, 3), dtype=np.uint8) for _ in range(number)]


def write_picture(path: Path, size_hw: tuple[int, int] = SIZE_HW) -> Path:
    """Write a picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random_frames(1, size_hw)[0]).save(path)
    return path


def write_video(path: Path, frames: list[np.ndarray]) -> Path:
    """Write frames without loss; .mov and .avi say how many they have, .mkv does not."""
    codec, pixels = ("ffv1", "bgr0") if path.suffix == ".mkv" else ("png", "rgb24")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def turn_clockwise(video: Path) -> None:
    """Note in the track header of a .mov that it is to be shown a quarter turn clockwise."""
    content = bytearray(video.read_bytes())
    matrix = np.array(QUARTER_TURN_CLOCKWISE, dtype=">i4").tobytes()
    start = content.index(b"tkhd") + 44  # version 0: 40 bytes of other fields lie between
    content[start : start + len(matrix)] = matrix
    video.write_bytes(content)

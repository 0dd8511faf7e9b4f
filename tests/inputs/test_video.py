import logging
import os
import re
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from d2seg.images import load_image
from d2seg.inputs.video import count_frames, read_frames
from tests.inputs.pictures import random_frames, turn_clockwise, write_video


@pytest.mark.parametrize("suffix", ["mov", "avi", "mkv"])
@pytest.mark.parametrize("every", [1, 3, 20])
def test_every_nth_frame_comes_in_order(tmp_path: Path, suffix: str, every: int) -> None:
    frames = random_frames(10)
    video = write_video(tmp_path / f"clip.{suffix}", frames)
    read = list(read_frames(video, every))
    assert [frame.number for frame in read] == list(range(0, 10, every))
    for number, reader in read:
        pixels = reader("RGB")
        assert pixels.flags["C_CONTIGUOUS"]
        np.testing.assert_array_equal(pixels, frames[number])
        np.testing.assert_array_equal(reader("BGR"), frames[number][..., ::-1])


def test_other_channel_orders_are_those_of_pictures(tmp_path: Path) -> None:
    frames = random_frames(1)
    Image.fromarray(frames[0]).save(tmp_path / "a.png")
    (frame,) = read_frames(write_video(tmp_path / "clip.mov", frames))
    for order in ("L", "YUV-BT.601"):
        expected = load_image(tmp_path / "a.png", order)
        np.testing.assert_array_equal(frame.reader(order), expected)


@pytest.mark.parametrize(("suffix", "count"), [("mov", 4), ("avi", 4), ("mkv", None)])
def test_count_frames(tmp_path: Path, suffix: str, count: int | None) -> None:
    video = write_video(tmp_path / f"clip.{suffix}", random_frames(10))
    assert count_frames(video, every=3) == count


def test_frames_are_decoded_on_demand(tmp_path: Path) -> None:
    """Damage in the middle does not matter to who stops before it."""
    video = write_video(tmp_path / "clip.mov", random_frames(200))
    overwrite_middle(video)
    frames = read_frames(video)
    assert [next(frames).number for _ in range(5)] == [0, 1, 2, 3, 4]
    frames.close()


def test_a_quarter_turn_is_applied(tmp_path: Path) -> None:
    frames = random_frames(2)
    video = write_video(tmp_path / "clip.mov", frames)
    turn_clockwise(video)
    for number, reader in read_frames(video):
        upright = reader("RGB")
        assert upright.shape == (10, 6, 3)
        # What was at the left is at the top, and what was at the bottom is at the left.
        np.testing.assert_array_equal(upright[0], frames[number][::-1, 0])


def test_damage_ends_a_video_with_a_frame_that_says_so(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mov", random_frames(20))
    overwrite_middle(video)
    *good, bad = read_frames(video)
    assert 0 < len(good) == bad.number < 20
    for frame in good:
        assert frame.reader("RGB").shape == (6, 10, 3)
    message = rf"clip.mov' cannot be read from frame {bad.number} on \(Invalid data"
    with pytest.raises(ValueError, match=message):
        bad.reader("RGB")


def test_a_frame_with_damage_inside_is_named_and_the_next_one_comes(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    frames = random_frames(6, (64, 96))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10, options={"g": "1"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for number, frame in enumerate(frames):
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(damaged_packet(packet) if number == 3 else packet)
        container.mux(stream.encode())
    readable = []
    for number, reader in read_frames(path):
        try:
            readable.append(reader("RGB").shape)
        except ValueError as error:
            assert str(error) == f"Frame {number} of '{path}' is damaged."
    assert readable == [(64, 96, 3)] * 5


@pytest.mark.parametrize("content", [b"", b"this is text"])
def test_a_file_that_is_no_video_gives_one_frame_that_says_so(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    (bad,) = read_frames(tmp_path / "clip.mp4")
    with pytest.raises(ValueError, match=r"clip.mp4' cannot be read as a video \(Invalid data"):
        bad.reader("RGB")
    assert count_frames(tmp_path / "clip.mp4") is None


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "clip.avi"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(1600))
    (bad,) = read_frames(tmp_path / "clip.avi")
    with pytest.raises(ValueError, match=r"cannot be read as a video \(it has no pictures\)"):
        bad.reader("RGB")


def test_a_video_that_was_cut_off_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    video = write_video(tmp_path / "clip.avi", random_frames(20, (48, 64)))
    content = video.read_bytes()
    chunk = re.compile(b"00d[bc]")  # begins each frame after the mark "movi"
    starts = [match.start() for match in chunk.finditer(content, content.index(b"movi"))]
    os.truncate(video, starts[12])
    with caplog.at_level(logging.WARNING):
        numbers = [frame.number for frame in read_frames(video)]
    assert numbers == list(range(12))
    assert "clip.avi' announces 20 frames but has 12." in caplog.text


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'PyAV\): pip install "d2seg\[video\]"'):
        next(read_frames(tmp_path / "clip.mp4"))


def damaged_packet(packet: av.Packet) -> av.Packet:
    """Return a copy of a packet whose middle is zero."""
    content = bytearray(bytes(packet))
    start, length = len(content) // 2, len(content) // 4
    content[start : start + length] = bytes(length)
    copy = av.Packet(bytes(content))
    copy.stream, copy.time_base = packet.stream, packet.time_base
    copy.pts, copy.dts = packet.pts, packet.dts
    return copy


def overwrite_middle(video: Path) -> None:
    """Zero a tenth of the file."""
    content = bytearray(video.read_bytes())
    start, length = len(content) // 2, len(content) // 10
    content[start : start + length] = bytes(length)
    video.write_bytes(content)

"""Cameras, by a stand-in for OpenCV."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from d2seg.inputs import Camera, camera
from tests.inputs.pictures import random_frames


class Capture:
    """Gives two frames; camera 5 cannot be opened."""

    def __init__(self, number: int) -> None:
        self.number, self.released = number, False
        self.frames = random_frames(2)

    def isOpened(self) -> bool:
        return self.number != 5

    def read(self) -> tuple[bool, Any]:
        return (True, self.frames.pop(0)) if self.frames else (False, None)

    def release(self) -> None:
        self.released = True


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for number in (1, 5):
        (tmp_path / f"video{number}").touch()
    monkeypatch.setattr(camera, "DEVICES", tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(VideoCapture=Capture))
    return tmp_path


def test_frames_come_until_the_camera_ends(devices: Path) -> None:
    taken = Camera(1)
    sources = list(taken)
    assert [source.name for source in sources] == ["camera1_000000", "camera1_000001"]
    assert [source.frame for source in sources] == [0, 1]
    for source, bgr in zip(sources, random_frames(2), strict=True):
        assert np.array_equal(source.read("BGR"), bgr)
        assert np.array_equal(source.read("RGB"), bgr[:, :, ::-1])
        assert source.read("L").shape[:2] == bgr.shape[:2]
    assert taken._capture.released
    assert taken.total is None


def test_who_stops_early_frees_the_camera(devices: Path) -> None:
    taken = Camera(1)
    frames = iter(taken)
    next(frames)
    frames.close()
    assert taken._capture.released


def test_a_camera_that_is_not_there_is_named(devices: Path) -> None:
    with pytest.raises(ValueError, match=r"no camera 0 \(.*video0.*cameras here: video1, video5"):
        Camera(0)


def test_a_camera_that_does_not_open_is_named(devices: Path) -> None:
    with pytest.raises(ValueError, match="Camera 5 cannot be opened; is it plugged in"):
        Camera(5)


def test_opencv_is_asked_for(devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r'opencv-python-headless: pip install "d2seg\[camera\]"'):
        Camera(1)

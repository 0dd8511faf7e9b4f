"""The window, on a screen that Xvfb imitates where that is installed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from d2seg.predict.show import PictureWindow, has_screen
from tests.conftest import RunPython

pytest.importorskip("tkinter")


@pytest.fixture
def screen() -> Iterator[str]:
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not installed")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "200x160x24"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        with os.fdopen(read) as pipe:
            yield f":{pipe.readline().strip()}"
        server.terminate()


PROGRAM = """
import numpy as np
from PIL import ImageGrab
from d2seg.predict.show import PictureWindow

def picture(red):
    image = np.zeros((60, 90, 3), np.uint8)
    image[:, :, 0] = red
    return image

def press(key):
    window._root.focus_force()
    window._root.event_generate(f"<Key-{key}>")

window = PictureWindow("pictures")
for red in (250, 120):
    print(window.show(picture(red), 50), ImageGrab.grab().getpixel((45, 30)))
window.show(np.full((1000, 3000, 3), 90, np.uint8), 50)
print(window._photo.width(), window._photo.height())
for delay in (0, 60000):
    window._root.after(100, press, "space")
    print(window.show(picture(9), delay))
try:
    window.show(picture(9), -1)
except ValueError as error:
    print(error)
window._root.after(100, press, "Escape")
print(window.show(picture(9), 0))
window.close()

window = PictureWindow("another")
window._root.after(50, window._end)
print(window.show(picture(9), 0))
window.close()
"""


def test_pictures_keys_and_closing(screen: str, run_python: RunPython) -> None:
    # In a process of its own: Tk ends the one in which it was when the screen goes.
    done = run_python("-c", PROGRAM, DISPLAY=screen)
    assert done.stdout.splitlines() == [
        "True (250, 0, 0)",
        "True (120, 0, 0)",
        "180 60",  # as the screen allows
        "True",
        "True",
        "The delay is -1 ms, but must be 0 or more.",
        "False",
        "False",
    ], done.stderr


def test_without_a_screen_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(ValueError, match=r"No window can be opened .*; write files instead"):
        PictureWindow("pictures")


def test_tk_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(ImportError, match="A window needs Tk, which this Python lacks"):
        PictureWindow("pictures")


@pytest.mark.parametrize(
    ("platform", "display", "there"),
    [("linux", None, False), ("linux", ":0", True), ("darwin", None, True), ("win32", None, True)],
)
def test_screens(
    monkeypatch: pytest.MonkeyPatch, platform: str, display: str | None, there: bool
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.delenv("DISPLAY", raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    assert has_screen() is there

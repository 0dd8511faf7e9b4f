"""A window that shows one picture after the other, by Tk, which comes with Python."""

import os
import sys
from typing import Any

import numpy as np
from PIL import Image

SHARE_OF_SCREEN = 0.9
"""How much of the screen's height and width a picture takes at most."""


def has_screen() -> bool:
    """Whether there is a screen that a window could be opened on."""
    if sys.platform in {"darwin", "win32"}:
        return True
    return bool(os.environ.get("DISPLAY"))  # Tk needs it under Wayland too


class PictureWindow:
    """Shows pictures until ESC is pressed or the window is closed.

    Args:
        title: Of the window.

    Raises:
        ImportError: Python lacks Tk.
        ValueError: There is no screen.
    """

    def __init__(self, title: str) -> None:
        try:
            import tkinter
        except ImportError as error:
            raise ImportError(
                "A window needs Tk, which this Python lacks (on Debian: apt install python3-tk); "
                "write files instead (--output)."
            ) from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise ValueError(
                f"No window can be opened ({error}); write files instead (--output)."
            ) from error
        self._root.title(title)
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._photo: Any = None
        self._moment = tkinter.BooleanVar(self._root)
        self._ended = False
        self._root.bind("<Key>", self._press)
        self._root.protocol("WM_DELETE_WINDOW", self._end)

    def show(self, picture: np.ndarray, delay_ms: int) -> bool:
        """Show a picture, made smaller if the screen is.

        Args:
            picture: (H, W, 3) uint8 RGB.
            delay_ms: For how long, unless a key is pressed; 0 waits for one.

        Returns:
            Whether to go on.

        Raises:
            ValueError: The delay is negative.
        """
        if delay_ms < 0:
            raise ValueError(f"The delay is {delay_ms} ms, but must be 0 or more.")
        from PIL import ImageTk

        # Tk does not hold the picture; who drops it sees an empty window.
        self._photo = ImageTk.PhotoImage(self._fitted(picture), master=self._root)
        self._label.configure(image=self._photo)
        self._root.update()
        if not self._ended:
            if delay_ms:
                self._root.after(delay_ms, self._go_on)
            self._root.wait_variable(self._moment)
        return not self._ended

    def close(self) -> None:
        """Close the window."""
        self._photo = None
        self._root.destroy()

    def _fitted(self, picture: np.ndarray) -> Image.Image:
        image = Image.fromarray(picture)
        limits = (self._root.winfo_screenwidth(), self._root.winfo_screenheight())
        image.thumbnail((int(limits[0] * SHARE_OF_SCREEN), int(limits[1] * SHARE_OF_SCREEN)))
        return image

    def _press(self, event: Any) -> None:
        if event.keysym == "Escape":
            self._ended = True
        self._go_on()

    def _end(self) -> None:
        self._ended = True
        self._go_on()

    def _go_on(self) -> None:
        self._moment.set(True)

"""Predictions for people to look at: drawn, in a window, in files."""

from d2seg.predict.show.draw import Drawer, Shown
from d2seg.predict.show.files import PredictionFiles
from d2seg.predict.show.grid import make_picture_grid
from d2seg.predict.show.run import Pace, peak_memory, predict_sources
from d2seg.predict.show.window import PictureWindow, has_screen

__all__ = [
    "Drawer",
    "Pace",
    "PictureWindow",
    "PredictionFiles",
    "Shown",
    "has_screen",
    "make_picture_grid",
    "peak_memory",
    "predict_sources",
]

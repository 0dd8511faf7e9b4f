"""One way to run a model, whatever it is stored in, and one kind of result."""

from d2seg.predict.conversion import coco_dataset
from d2seg.predict.images import ImageLike, fit_shortest_edge, fit_window, stretch
from d2seg.predict.prediction import Prediction
from d2seg.predict.predictor import Predictor

__all__ = [
    "ImageLike",
    "Prediction",
    "Predictor",
    "coco_dataset",
    "fit_shortest_edge",
    "fit_window",
    "stretch",
]

"""The usual choices for training and predicting, under detectron2's path."""

from d2seg.core.engine.predictor import DefaultPredictor
from d2seg.core.engine.startup import (
    default_argument_parser,
    default_setup,
    default_writers,
)
from d2seg.core.engine.trainer import DefaultTrainer, create_ddp_model

__all__ = [
    "DefaultPredictor",
    "DefaultTrainer",
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
]

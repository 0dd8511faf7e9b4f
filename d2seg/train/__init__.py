"""Training: a trainer whose runs can be killed and resumed, and what the config can ask of it."""

from d2seg.train.run import run_training
from d2seg.train.trainer import Trainer

__all__ = ["Trainer", "run_training"]

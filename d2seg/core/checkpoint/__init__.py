"""Checkpoints: files of any known kind into a model, and saving them whole or not at all."""

from fvcore.common.checkpoint import Checkpointer, PeriodicCheckpointer

from d2seg.core.checkpoint import catalog  # serves catalog:// addresses
from d2seg.core.checkpoint.detection_checkpoint import DetectionCheckpointer

__all__ = ["Checkpointer", "DetectionCheckpointer", "PeriodicCheckpointer", "catalog"]

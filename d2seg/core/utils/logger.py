"""Logging set-up, under detectron2's path."""

from d2seg.core.runtime.logger import setup_logger

__all__ = ["setup_logger"]

"""The registry class, under detectron2's path."""

from d2seg.core.runtime.registry import Registry

__all__ = ["Registry"]

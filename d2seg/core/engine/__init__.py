"""Running models."""

from d2seg.core.engine.defaults import DefaultPredictor

__all__ = ["DefaultPredictor"]

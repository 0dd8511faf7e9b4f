"""Intermediate features of a model by name, and files of them."""

from d2seg.features.extractor import FeatureExtractor
from d2seg.features.hooks import capture
from d2seg.features.store import FeatureStore, load, open_store, save_features
from d2seg.features.writer import FeatureWriter

__all__ = [
    "FeatureExtractor",
    "FeatureStore",
    "FeatureWriter",
    "capture",
    "load",
    "open_store",
    "save_features",
]

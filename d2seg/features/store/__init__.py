"""Features of images on the disk: files, a Zarr store, or Parquet tables."""

from d2seg.features.store.base import Features, FeatureStore, ImageFeatures
from d2seg.features.store.files import load_file, save_features
from d2seg.features.store.opening import FORMATS, load, load_folder, open_store

__all__ = [
    "FORMATS",
    "FeatureStore",
    "Features",
    "ImageFeatures",
    "load",
    "load_file",
    "load_folder",
    "open_store",
    "save_features",
]

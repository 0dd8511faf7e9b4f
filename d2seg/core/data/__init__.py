"""Data sets and what is known about them, reading images, resizing them."""

from d2seg.core.data.catalog import DatasetCatalog, Metadata, MetadataCatalog

__all__ = ["DatasetCatalog", "Metadata", "MetadataCatalog"]

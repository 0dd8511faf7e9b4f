"""Data sets by name, and what is known about them."""

from d2seg.core.runtime.catalog import DatasetCatalog, Metadata, MetadataCatalog

__all__ = ["DatasetCatalog", "Metadata", "MetadataCatalog"]

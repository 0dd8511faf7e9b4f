"""Data sets by name, and what is known about them."""

from d2seg.core.runtime.catalog import (
    DatasetCatalog,
    Metadata,
    MetadataCatalog,
    get_fed_loss_cls_weights,
)

__all__ = ["DatasetCatalog", "Metadata", "MetadataCatalog", "get_fed_loss_cls_weights"]

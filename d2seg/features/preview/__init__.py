"""A page that shows features: heat maps of levels, and which objects are alike."""

from d2seg.features.preview.preview import Preview

__all__ = ["Preview"]

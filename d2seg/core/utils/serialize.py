"""Functions that other processes can be given; they live in `d2seg.core.runtime.serialize`."""

from d2seg.core.runtime.serialize import PicklableWrapper

__all__ = ["PicklableWrapper"]

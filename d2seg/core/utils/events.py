"""The event stack, under detectron2's path."""

from d2seg.core.runtime.events import EventStorage, get_event_storage, has_event_storage

__all__ = ["EventStorage", "get_event_storage", "has_event_storage"]

"""The event stack and its writers, under detectron2's path."""

from d2seg.core.runtime.events import EventStorage, get_event_storage, has_event_storage
from d2seg.core.runtime.writers import (
    CommonMetricPrinter,
    EventWriter,
    JSONWriter,
    TensorBoardXWriter,
    TensorboardXWriter,
)

__all__ = [
    "CommonMetricPrinter",
    "EventStorage",
    "EventWriter",
    "JSONWriter",
    "TensorBoardXWriter",
    "TensorboardXWriter",
    "get_event_storage",
    "has_event_storage",
]

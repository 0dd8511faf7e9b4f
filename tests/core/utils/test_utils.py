"""The names that detectron2 has under ``utils``."""

from d2seg.core.runtime import comm as runtime_comm
from d2seg.core.runtime import events as runtime_events
from d2seg.core.runtime.files import PathManager
from d2seg.core.runtime.logger import setup_logger
from d2seg.core.runtime.registry import Registry
from d2seg.core.utils import comm, events, file_io, logger, registry


def test_the_facade_serves_the_very_same_objects() -> None:
    assert events.get_event_storage is runtime_events.get_event_storage
    assert events.EventStorage is runtime_events.EventStorage
    assert file_io.PathManager is PathManager
    assert registry.Registry is Registry
    assert logger.setup_logger is setup_logger
    assert comm.all_gather is runtime_comm.all_gather

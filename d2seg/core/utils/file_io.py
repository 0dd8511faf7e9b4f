"""The path manager, under detectron2's path."""

from iopath.common.file_io import PathHandler
from iopath.common.file_io import PathManager as PathManagerBase

from d2seg.core.runtime.files import PathManager

__all__ = ["PathHandler", "PathManager", "PathManagerBase"]

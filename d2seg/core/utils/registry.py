"""The registry class, and objects by their full name, under detectron2's path."""

from d2seg.core.runtime.names import locate
from d2seg.core.runtime.names import target_name as _convert_target_to_string
from d2seg.core.runtime.registry import Registry

__all__ = ["Registry", "_convert_target_to_string", "locate"]

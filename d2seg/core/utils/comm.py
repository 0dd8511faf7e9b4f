"""Processes that work together, under detectron2's path."""

from d2seg.core.runtime.comm import (
    all_gather,
    gather,
    get_rank,
    get_world_size,
    is_main_process,
    synchronize,
)

__all__ = [
    "all_gather",
    "gather",
    "get_rank",
    "get_world_size",
    "is_main_process",
    "synchronize",
]

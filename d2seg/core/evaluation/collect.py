"""Bringing together what the processes of an evaluation have found."""

import itertools
from collections.abc import Iterable
from typing import TypeVar

from d2seg.core.runtime.comm import gather, is_main_process, synchronize

__all__ = ["collect", "collect_lists"]

T = TypeVar("T")


def collect(found: T, distributed: bool = True) -> list[T]:
    """Return what every process has found, by rank; nothing in processes other than the first.

    Args:
        found: What this process has found.
        distributed: False: only this process takes part, and gets its own ``found``.
    """
    if not distributed:
        return [found]
    synchronize()
    parts = gather(found)
    return parts if is_main_process() else []


def collect_lists(found: Iterable[T], distributed: bool = True) -> list[T] | None:
    """Join the lists of all processes; None in processes other than the first.

    Args:
        found: What this process has found.
        distributed: False: only this process takes part.
    """
    parts = collect(list(found), distributed)
    return list(itertools.chain.from_iterable(parts)) if parts else None

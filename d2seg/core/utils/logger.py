"""Logging, under detectron2's path."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Mapping

import torch
from tabulate import tabulate

from d2seg.core.runtime.logger import setup_logger

__all__ = [
    "create_small_table",
    "log_every_n",
    "log_every_n_seconds",
    "log_first_n",
    "setup_logger",
]

_counts: Counter[tuple[object, ...]] = Counter()
_last_logged: dict[tuple[str, int], float] = {}


def log_first_n(
    lvl: int,
    msg: str,
    n: int = 1,
    *,
    name: str | None = None,
    key: str | tuple[str, ...] = "caller",
) -> None:
    """Log a message, but only the first n times.

    Args:
        lvl: Level, such as ``logging.INFO``.
        msg: The message.
        n: How often.
        name: Of the logger; by default the calling module.
        key: What counts as the same: ``caller`` (the line of code), ``message``, or both.
    """
    module, line = _caller()
    wanted = (key,) if isinstance(key, str) else tuple(key)
    same: tuple[object, ...] = (name,)
    if "caller" in wanted:
        same += (module, line)
    if "message" in wanted:
        same += (msg,)
    _counts[same] += 1
    if _counts[same] <= n:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n(lvl: int, msg: str, n: int = 1, *, name: str | None = None) -> None:
    """Log a message every n-th time, the first time included; arguments as above."""
    module, line = _caller()
    _counts[(module, line)] += 1
    if n == 1 or _counts[(module, line)] % n == 1:
        logging.getLogger(name or module).log(lvl, msg)


def log_every_n_seconds(lvl: int, msg: str, n: float = 1, *, name: str | None = None) -> None:
    """Log a message at most every n seconds; arguments as above."""
    module, line = _caller()
    now = time.monotonic()
    last = _last_logged.get((module, line))
    if last is None or now - last >= n:
        logging.getLogger(name or module).log(lvl, msg)
        _last_logged[module, line] = now


def create_small_table(small_dict: Mapping[str, object]) -> str:
    """Write a few values as a table with one row.

    Args:
        small_dict: Column names to values.
    """
    return tabulate(
        [list(small_dict.values())],
        headers=list(small_dict),
        tablefmt="pipe",
        floatfmt=".3f",
        stralign="center",
        numalign="center",
    )


def _log_api_usage(identifier: str) -> None:
    """Tell PyTorch's log of API usage, which is off by default, that something is used.

    Args:
        identifier: Such as ``modeling.meta_arch.RetinaNet``.
    """
    torch._C._log_api_usage_once(f"d2seg.{identifier}")


def _caller() -> tuple[str, int]:
    """Return module and line of the code that called into this module."""
    frame = sys._getframe(2)
    return frame.f_globals.get("__name__", "d2seg"), frame.f_lineno

"""Comparing versions of torch."""

import re

import torch


def min_torch_version(min_version: str) -> bool:
    """Tell whether the installed torch is at least this version, such as ``2.4``."""
    return _numbers(torch.__version__) >= _numbers(min_version)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    if found is None:
        raise ValueError(f"'{version}' is not a version, such as '2.4'.")
    return tuple(int(part) for part in found.group().split("."))

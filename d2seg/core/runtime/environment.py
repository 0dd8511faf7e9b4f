"""What a bug report should say of a machine."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from tabulate import tabulate

_PACKAGES = ("torchvision", "fvcore", "iopath", "pycocotools", "pillow")


def collect_env_info() -> str:
    """Return a table of versions and devices."""
    rows = [
        ("sys.platform", sys.platform),
        ("Python", sys.version.replace("\n", "")),
        ("machine", f"{platform.machine()}, {os.cpu_count()} CPUs"),
        ("numpy", np.__version__),
        ("torch", torch.__version__),
        *((name, _version(name)) for name in _PACKAGES),
        ("CUDA available", str(torch.cuda.is_available())),
    ]
    for index in range(torch.cuda.device_count()):
        rows.append((f"GPU {index}", torch.cuda.get_device_name(index)))
    return tabulate(rows)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"

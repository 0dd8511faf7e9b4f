"""Checks of the installed torch that turn an obscure failure into one sentence."""

import importlib
import logging
from importlib.metadata import PackageNotFoundError, version

import torch

logger = logging.getLogger(__name__)


def require_matching_torchvision() -> None:
    """Import torchvision, or say which two versions do not fit.

    torchvision's compiled operators load only beside the torch build they were made for. With any
    other build its import fails with a message about a missing operator.

    Raises:
        ImportError: torchvision is missing or was built for another torch.
    """
    advice = "Install the tested pair: pip install -c constraints.txt torch torchvision."
    try:
        importlib.import_module("torchvision")
        registered = hasattr(torch.ops.torchvision, "nms")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        raise ImportError(f"torchvision is not installed; d2seg needs it. {advice}") from error
    except (RuntimeError, OSError, AttributeError):
        registered = False
    if not registered:
        raise ImportError(
            f"torchvision {_installed_version('torchvision')} does not fit torch "
            f"{torch.__version__}: its compiled operators could not be registered "
            f"(a CPU-only torch with the default torchvision does this). {advice}"
        )


def select_device(name: str) -> torch.device:
    """Return the device of this name, or the CPU with one warning where there is no such GPU.

    Args:
        name: A torch device string such as ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        ValueError: The string names no device type that torch knows.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"MODEL.DEVICE is '{name}', which torch does not know; use 'cpu', 'cuda' or 'cuda:0'."
        ) from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            logger.warning(
                "MODEL.DEVICE is '%s' but torch sees %d GPU(s); using the CPU.", name, count
            )
            return torch.device("cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        logger.warning("MODEL.DEVICE is 'mps' but it is not available; using the CPU.")
        return torch.device("cpu")
    return device


def _installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(unknown version)"

"""What runs a model: the parts that the predictor needs of it."""

import logging
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from d2seg.predict.images import Fit, NetworkInput, SizeHW
from d2seg.predict.prediction import Prediction

logger = logging.getLogger(__name__)


class Backend(Protocol):
    """A model in the runtime that it was made for.

    Attributes:
        class_names: In the order of the class indices.
        input_order: Order of the channels it takes, ``RGB`` or ``BGR``.
        fit: Computes the size that it wants an image in.
        limit_hw: Height and width of the largest image that it takes; None without such a limit.
        resizes_inside: Whether it resizes images itself.
        interpolate: Whether it wants images resized by plain interpolation, without smoothing.
        takes_batches: Whether it takes several images of one size together.
    """

    class_names: tuple[str, ...]
    input_order: str
    fit: Fit
    limit_hw: SizeHW | None
    resizes_inside: bool
    interpolate: bool
    takes_batches: bool

    @property
    def device(self) -> torch.device | str:
        """Where it computes; a text of runtimes other than torch."""

    def run(self, inputs: Sequence[NetworkInput]) -> list[Prediction]:
        """Find the objects of images of one size.

        Returns:
            One for each, in pixels of the image before it was resized.
        """

    def count_flops(self, one: NetworkInput) -> float | None:
        """Count the multiply-adds of an image in units of 1e9; None if that cannot be done."""


def usable_device(wanted: str) -> torch.device:
    """Return the device of that name, or the CPU with a warning if this machine lacks it.

    Raises:
        ValueError: torch knows no such device.
    """
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ValueError(
            f"device is '{wanted}'; use cpu, cuda, cuda:1, mps or the like."
        ) from error
    try:
        torch.empty(0, device=device)
    # torch tells in different ways that a kind is not built in, or that there is no such one.
    except (AssertionError, NotImplementedError, RuntimeError):
        logger.warning("The device '%s' cannot be used here; using the CPU.", wanted)
        return torch.device("cpu")
    return device


def on_cpu(value: Tensor) -> Tensor:
    """Take a result off its device and out of autograd."""
    return value.detach().cpu()

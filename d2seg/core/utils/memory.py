"""Going on where a GPU has too little memory."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


def retry_if_cuda_oom(func: Callable[..., Result]) -> Callable[..., Result]:
    """Make a function try again when the GPU is full: with its cache emptied, then on the CPU.

    Args:
        func: A function without state; positional and keyword arguments that are tensors, or have a
            ``to`` method and a ``device``, are moved to the CPU for the last attempt. Its results
            stay there.
    """

    @wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Result:
        try:
            return func(*args, **kwargs)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
        try:
            return func(*args, **kwargs)
        except torch.cuda.OutOfMemoryError:
            logger.warning("%s does not fit into the GPU; it runs on the CPU.", func.__name__)
        moved = {name: _on_cpu(value) for name, value in kwargs.items()}
        return func(*(_on_cpu(value) for value in args), **moved)

    return wrapped


def _on_cpu(value: Any) -> Any:
    movable = isinstance(value, Tensor) or (hasattr(value, "device") and hasattr(value, "to"))
    return value.to("cpu") if movable else value

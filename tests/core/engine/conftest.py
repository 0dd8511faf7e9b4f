"""Leave loggers and torch as they were."""

import logging
from collections.abc import Iterator

import pytest
import torch

from d2seg.core.runtime.logger import OWN_NAMES


@pytest.fixture(autouse=True)
def plain_settings() -> Iterator[None]:
    """Undo what starting a program sets up."""
    yield
    for name in (*OWN_NAMES, "fvcore"):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False

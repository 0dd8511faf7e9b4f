"""Random numbers of all libraries from one seed."""

import logging
import os
import random
from datetime import datetime

import numpy as np
import torch

logger = logging.getLogger(__name__)


def seed_all_rng(seed: int | None = None) -> None:
    """Seed torch, numpy, Python and the hashes of child processes.

    Args:
        seed: None draws one and logs it.
    """
    if seed is None:
        seed = os.getpid() + int(datetime.now().strftime("%S%f")) + random.getrandbits(16)
        logger.info("The random seed is %d.", seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    random.seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)

"""Precision of scores."""

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """Return half precision as single precision, and anything else as it is.

    Scores in eight bits are often equal, which leaves their order to chance.
    """
    if x.dtype == torch.bfloat16 or x.dtype == torch.float16:
        return x.float()
    return x

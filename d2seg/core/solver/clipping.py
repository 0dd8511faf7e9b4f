"""Optimizers that clip gradients before each step."""

from collections.abc import Iterable
from enum import Enum
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from d2seg.core.config import CfgNode


class GradientClipType(Enum):
    """What is clipped: each value, or the norm of each parameter's gradient."""

    VALUE = "value"
    NORM = "norm"


def maybe_add_gradient_clipping(
    cfg: CfgNode, optimizer: torch.optim.Optimizer | type[torch.optim.Optimizer]
) -> Any:
    """Make an optimizer, or a class of optimizers, clip as ``SOLVER.CLIP_GRADIENTS`` says.

    Args:
        cfg: The whole config; without ``CLIP_GRADIENTS.ENABLED`` nothing changes.
        optimizer: An optimizer, which changes its class, or a class.

    Returns:
        The optimizer, or a subclass of the class.
    """
    keys = cfg.SOLVER.CLIP_GRADIENTS
    if not keys.ENABLED:
        return optimizer
    plain = type(optimizer) if isinstance(optimizer, torch.optim.Optimizer) else optimizer
    clipping = _with_clipping(plain, keys)
    if isinstance(optimizer, torch.optim.Optimizer):
        optimizer.__class__ = clipping
        return optimizer
    return clipping


def _with_clipping(
    plain: type[torch.optim.Optimizer], keys: CfgNode
) -> type[torch.optim.Optimizer]:
    kinds = [one.value for one in GradientClipType]
    if keys.CLIP_TYPE not in kinds:
        raise ValueError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is '{keys.CLIP_TYPE}', but must be one of "
            f"{', '.join(kinds)}."
        )
    by_norm = GradientClipType.NORM.value == keys.CLIP_TYPE
    limit, norm_type = keys.CLIP_VALUE, keys.NORM_TYPE

    def step(self: torch.optim.Optimizer, closure: Any = None) -> Any:
        if by_norm:
            for parameter in _all_parameters(self):
                clip_grad_norm_(parameter, limit, norm_type)
        else:
            clip_grad_value_(_all_parameters(self), limit)
        return plain.step(self, closure)

    return type(f"{plain.__name__}WithGradientClip", (plain,), {"step": step})


def _all_parameters(optimizer: torch.optim.Optimizer) -> Iterable[torch.Tensor]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])

"""Optimizer and schedule that a config asks for."""

import logging

import torch
from fvcore.common.param_scheduler import (
    CosineParamScheduler,
    ParamScheduler,
    StepWithFixedGammaParamScheduler,
)
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from d2seg.core.config import CfgNode
from d2seg.core.solver.clipping import GradientClipType, maybe_add_gradient_clipping
from d2seg.core.solver.lr_scheduler import LRMultiplier, WarmupParamScheduler, multi_step
from d2seg.core.solver.parameters import (
    _expand_param_groups,  # noqa: F401 - detectron2's own tests take it from here
    get_default_optimizer_params,
    reduce_param_groups,
)

__all__ = [
    "GradientClipType",
    "build_lr_scheduler",
    "build_optimizer",
    "get_default_optimizer_params",
    "maybe_add_gradient_clipping",
    "reduce_param_groups",
]

logger = logging.getLogger(__name__)

SCHEDULES = ("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR")


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build the stochastic gradient descent that ``SOLVER`` describes."""
    keys = cfg.SOLVER
    groups = get_default_optimizer_params(
        model,
        base_lr=keys.BASE_LR,
        weight_decay=keys.WEIGHT_DECAY,
        weight_decay_norm=keys.WEIGHT_DECAY_NORM,
        bias_lr_factor=keys.BIAS_LR_FACTOR,
        weight_decay_bias=keys.WEIGHT_DECAY_BIAS,
    )
    optimizer_class = maybe_add_gradient_clipping(cfg, torch.optim.SGD)
    # One pass over weights, gradients and momentum. Where gradients are clipped first, they must
    # have been unscaled, which a fused step would do itself.
    fuses = not keys.CLIP_GRADIENTS.ENABLED and all(map(_can_fuse, model.parameters()))
    optimizer: torch.optim.Optimizer = optimizer_class(
        groups,
        lr=keys.BASE_LR,
        momentum=keys.MOMENTUM,
        nesterov=keys.NESTEROV,
        weight_decay=keys.WEIGHT_DECAY,
        **({"fused": True} if fuses else {"foreach": True}),
    )
    optimizer.register_load_state_dict_post_hook(_keep_implementation)
    return optimizer


def _keep_implementation(optimizer: torch.optim.Optimizer) -> None:
    """Undo that an older checkpoint, which holds it too, changes how a step is computed."""
    for group in optimizer.param_groups:
        group.update({name: optimizer.defaults[name] for name in ("foreach", "fused")})


def _can_fuse(parameter: nn.Parameter) -> bool:
    return parameter.is_floating_point() and parameter.device.type in ("cpu", "cuda")


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Build the schedule that ``SOLVER.LR_SCHEDULER_NAME`` names, with its warm-up.

    Raises:
        ValueError: The schedule is unknown, ``SOLVER.MAX_ITER`` is not positive, or
            ``SOLVER.STEPS`` do not rise.
    """
    keys = cfg.SOLVER
    if keys.MAX_ITER < 1:
        raise ValueError(
            f"SOLVER.MAX_ITER is {keys.MAX_ITER}, but must be 1 or more: the number of iterations "
            "to train for. To evaluate without training, use --eval-only."
        )
    schedule = WarmupParamScheduler(
        _curve(keys),
        keys.WARMUP_FACTOR,
        min(keys.WARMUP_ITERS / keys.MAX_ITER, 1.0),
        keys.WARMUP_METHOD,
        keys.RESCALE_INTERVAL,
    )
    return LRMultiplier(optimizer, multiplier=schedule, max_iter=keys.MAX_ITER)


def _curve(keys: CfgNode) -> ParamScheduler:
    name = keys.LR_SCHEDULER_NAME
    if name == "WarmupMultiStepLR":
        _require_rising(list(keys.STEPS))
        late = [step for step in keys.STEPS if step > keys.MAX_ITER]
        if late:
            logger.warning(
                "SOLVER.STEPS %s come after SOLVER.MAX_ITER %d and have no effect.",
                late,
                keys.MAX_ITER,
            )
        return multi_step(keys.STEPS, keys.GAMMA, keys.MAX_ITER)
    if name == "WarmupCosineLR":
        return CosineParamScheduler(1.0, keys.BASE_LR_END / keys.BASE_LR)
    if name == "WarmupStepWithFixedGammaLR":
        return StepWithFixedGammaParamScheduler(
            base_value=1.0, gamma=keys.GAMMA, num_decays=keys.NUM_DECAYS, num_updates=keys.MAX_ITER
        )
    raise ValueError(
        f"SOLVER.LR_SCHEDULER_NAME is '{name}', but must be one of {', '.join(SCHEDULES)}."
    )


def _require_rising(steps: list[int]) -> None:
    if steps != sorted(set(steps)) or (steps and steps[0] < 1):
        raise ValueError(
            f"SOLVER.STEPS are {steps}, but must be iterations from 1 on in rising order: the "
            "learning rate falls at each of them."
        )

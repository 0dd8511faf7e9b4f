"""Optimizers and learning-rate schedules, made from configs."""

from d2seg.core.solver.build import build_lr_scheduler, build_optimizer
from d2seg.core.solver.clipping import GradientClipType, maybe_add_gradient_clipping
from d2seg.core.solver.lr_scheduler import (
    LRMultiplier,
    LRScheduler,
    WarmupCosineLR,
    WarmupMultiStepLR,
    WarmupParamScheduler,
)
from d2seg.core.solver.parameters import get_default_optimizer_params, reduce_param_groups

__all__ = [
    "GradientClipType",
    "LRMultiplier",
    "LRScheduler",
    "WarmupCosineLR",
    "WarmupMultiStepLR",
    "WarmupParamScheduler",
    "build_lr_scheduler",
    "build_optimizer",
    "get_default_optimizer_params",
    "maybe_add_gradient_clipping",
    "reduce_param_groups",
]

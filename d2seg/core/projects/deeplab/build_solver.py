"""The schedules of DeepLab's configs."""

import torch
from torch.optim.lr_scheduler import LRScheduler

from d2seg.core import solver
from d2seg.core.config import CfgNode
from d2seg.core.projects.deeplab.lr_scheduler import WarmupPolyLR


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Build the schedule that ``SOLVER.LR_SCHEDULER_NAME`` names, ``WarmupPolyLR`` included."""
    keys = cfg.SOLVER
    if keys.LR_SCHEDULER_NAME != "WarmupPolyLR":
        return solver.build_lr_scheduler(cfg, optimizer)
    return WarmupPolyLR(
        optimizer,
        keys.MAX_ITER,
        warmup_factor=keys.WARMUP_FACTOR,
        warmup_iters=keys.WARMUP_ITERS,
        warmup_method=keys.WARMUP_METHOD,
        power=keys.POLY_LR_POWER,
        constant_ending=keys.POLY_LR_CONSTANT_ENDING,
    )

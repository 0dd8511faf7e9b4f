"""What is done around the steps of a training."""

from d2seg.core.engine.hooks.callback import CallbackHook
from d2seg.core.engine.hooks.checkpoints import BestCheckpointer, PeriodicCheckpointer
from d2seg.core.engine.hooks.evaluation import EvalHook
from d2seg.core.engine.hooks.lr_schedule import LRScheduler
from d2seg.core.engine.hooks.precise_bn import PreciseBN
from d2seg.core.engine.hooks.profiling import AutogradProfiler, TorchMemoryStats, TorchProfiler
from d2seg.core.engine.hooks.reports import IterationTimer, PeriodicWriter
from d2seg.core.engine.loop import HookBase

__all__ = [
    "AutogradProfiler",
    "BestCheckpointer",
    "CallbackHook",
    "EvalHook",
    "HookBase",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "PreciseBN",
    "TorchMemoryStats",
    "TorchProfiler",
]

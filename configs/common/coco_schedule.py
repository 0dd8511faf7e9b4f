"""Learning rates over the training on COCO with 16 images a batch, as factors of the first one.

An epoch is about 7330 iterations; 1x is 90000 of them.
"""

from fvcore.common.param_scheduler import MultiStepParamScheduler

from d2seg.core.config import LazyCall as L
from d2seg.core.solver import WarmupParamScheduler


def _multiplier(first_step, second_step, iterations):
    return L(WarmupParamScheduler)(
        scheduler=L(MultiStepParamScheduler)(
            values=[1.0, 0.1, 0.01], milestones=[first_step, second_step, iterations]
        ),
        warmup_length=1000 / iterations,
        warmup_method="linear",
        warmup_factor=0.001,
    )


lr_multiplier_1x = _multiplier(60000, 80000, 90000)
lr_multiplier_2x = _multiplier(120000, 160000, 180000)
lr_multiplier_3x = _multiplier(210000, 250000, 270000)

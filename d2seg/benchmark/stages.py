"""Task ``stages``: where the time of an image goes, and what share of the possible it reaches."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from d2seg.benchmark.comparison import Spread, spread_of
from d2seg.benchmark.rounds import Rounds, check_rounds, count_rounds
from d2seg.benchmark.subject import Subject
from d2seg.benchmark.work import in_channel_order, predicting
from d2seg.framework import DefaultPredictor, FlopCountAnalysis, Linear

STAGES = ("preprocess", "backbone", "proposals", "box", "mask", "paste")

_MODULES = {
    "backbone": ("backbone",),
    "proposals": ("proposal_generator",),
    "box": ("roi_heads.box_head", "roi_heads.box_predictor"),
    "mask": ("roi_heads.mask_head",),
}
"""Where multiply-adds are counted; elsewhere there are hardly any."""

_SIDE, _PRODUCTS = 2048, 5
"""Rows and columns of the matrices whose product tells the rate of the machine; and how many
products, of which the fastest counts: what the machine can reach is no less."""


class Stage(NamedTuple):
    """One part of predicting an image.

    Attributes:
        name: Of the stage.
        seconds: Over the rounds.
        share: Of the whole time, of the medians.
        gflop: Floating-point operations in units of 1e9, two for each multiply-add.
        rate_share: How much of the rate of a matrix product it reaches; 0 without multiply-adds.
        round_seconds: The seconds of each round, in their order.
    """

    name: str
    seconds: Spread
    share: float
    gflop: float
    rate_share: float
    round_seconds: list[float]


class Stages(NamedTuple):
    """What the rounds say.

    Attributes:
        stages: All parts, in the order in which they run.
        gflops_per_second: The rate of the machine in 1e9 operations a second, measured in turns
            with the parts and in the same precision.
        round_rates: The same of each round.
    """

    stages: list[Stage]
    gflops_per_second: Spread
    round_rates: list[float]


def benchmark_stages(
    subject: Subject, rounds: Rounds, after_round: Callable[[int], None] = lambda done: None
) -> Stages:
    """Time the parts of a model one after the other, on the first image.

    Args:
        subject: A model of the kind ``GeneralizedRCNN`` with ``StandardROIHeads`` and masks.
        rounds: How often each is timed; so often a product of matrices is timed in between.
        after_round: Is told how many rounds are done.

    Raises:
        ValueError: The model has other parts, or ``rounds`` asks for no round.
    """
    check_rounds(rounds)
    predictor = DefaultPredictor(subject.cfg)
    model: Any = predictor.model
    if not hasattr(getattr(model, "roi_heads", None), "mask_pooler"):
        raise ValueError(
            f"Stages are timed of a GeneralizedRCNN with StandardROIHeads and masks, but this is "
            f"another {type(model).__name__}."
        )
    image = subject.images[0]
    flops = _count(model, predictor, image)
    synchronize = getattr(torch, model.device.type).synchronize
    times: dict[str, list[float]] = {name: [] for name in STAGES}
    rates: list[float] = []
    for number in count_rounds(rounds):
        clock = _Clock(synchronize)
        with torch.no_grad(), predicting(model):
            _run(predictor, image, clock)
        with torch.no_grad(), predicting(model):
            rate = _matrix_rate(model.device, synchronize)
        if number:
            rates.append(rate)
            for name in STAGES:
                times[name].append(clock.seconds[name])
            after_round(number)
    total = sum(float(np.median(times[name])) for name in STAGES)
    rate = float(np.median(rates))
    stages = []
    for name in STAGES:
        seconds = spread_of(times[name])
        gflop = flops.get(name, 0.0)
        share, rate_share = seconds.median / total, gflop / seconds.median / rate
        stages.append(Stage(name, seconds, share, gflop, rate_share, times[name]))
    return Stages(stages, spread_of(rates), rates)


class _Clock:
    """Notes how long it is since the last note."""

    def __init__(self, synchronize: Callable[[], None]) -> None:
        self._synchronize = synchronize
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def note(self, name: str) -> None:
        self._synchronize()
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def _run(predictor: Any, image: np.ndarray, clock: _Clock) -> None:
    """Predict an image as the predictor does, part by part."""
    model = predictor.model
    inputs = [_prepared(predictor, image)]
    images = model.preprocess_image(inputs)
    clock.note("preprocess")
    features = model.backbone(images.tensor)
    clock.note("backbone")
    proposals, _ = model.proposal_generator(images, features)
    clock.note("proposals")
    heads = model.roi_heads
    boxed = heads._forward_box(features, proposals)
    clock.note("box")
    found = heads.forward_with_given_boxes(features, boxed)
    clock.note("mask")
    del features
    model._postprocess(found, inputs, images.image_sizes)
    clock.note("paste")


def _prepared(predictor: Any, image: np.ndarray) -> dict[str, Any]:
    """Resize an image as `DefaultPredictor` does."""
    height, width = image.shape[:2]
    ordered = in_channel_order(image, predictor.input_format)
    resized = predictor.aug.get_transform(ordered).apply_image(np.ascontiguousarray(ordered))
    pixels = torch.from_numpy(np.ascontiguousarray(resized)).permute(2, 0, 1)
    tensor = pixels.to(predictor.model.device).float()
    return {"image": tensor, "height": height, "width": width}


def _count(model: nn.Module, predictor: Any, image: np.ndarray) -> dict[str, float]:
    """Count the operations of each stage in units of 1e9, two for each multiply-add."""
    with torch.no_grad():
        counted = FlopCountAnalysis(model, [_prepared(predictor, image)]).by_module()
    return {
        name: 2e-9 * sum(counted[f"model.{module}"] for module in modules)
        for name, modules in _MODULES.items()
    }


def _matrix_rate(device: torch.device, synchronize: Callable[[], None]) -> float:
    """Return how many 1e9 operations a second a product of two large matrices reaches at best.

    It is that of a linear layer, which in core goes through the library of the convolutions.
    """
    left = torch.ones(_SIDE, _SIDE, device=device)
    multiply = Linear(_SIDE, _SIDE, bias=False, device=device)
    nn.init.ones_(multiply.weight)
    clock = _Clock(synchronize)
    for number in range(1 + _PRODUCTS):  # the first finds its memory
        multiply(left)
        clock.note(str(number))
    return 2e-9 * _SIDE**3 / min(list(clock.seconds.values())[1:])

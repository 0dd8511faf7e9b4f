"""Task ``growth``: how the time of an image grows with what it holds and how it is run."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from d2seg.benchmark.comparison import Spread, spread_of
from d2seg.benchmark.random_weights import ask_for_objects
from d2seg.benchmark.rounds import Contestant, Rounds, check_rounds, time_rounds
from d2seg.benchmark.subject import Subject
from d2seg.benchmark.work import prepare_bgr_image
from d2seg.framework import DefaultPredictor

SIDES = (0.5, 0.75, 1.0, 1.25)
"""Of the image, relative to the one that is given."""

OBJECTS = (10, 100, 1000)
PROPOSALS = (100, 300, 1000)
BATCHES = (1, 2, 4)

JUDGED = ("megapixels", "proposals", "objects")
"""Of what grows, that whose time must not grow faster. Threads take time away, and the points of a
batch are of one image each."""

_STEEPER = 1.25
"""How many times the first cost of a unit another may be: caches and memory are not linear."""

_NOISE = 0.02
"""Share of a time that is taken to be noise at least."""


class Point(NamedTuple):
    """One measurement.

    Attributes:
        what: What grows: ``megapixels``, ``proposals``, ``objects``, ``images in a batch`` or
            ``threads``.
        amount: How much of it there is.
        seconds: For one image, over the rounds.
        round_seconds: The same of each round, in their order.
    """

    what: str
    amount: float
    seconds: Spread
    round_seconds: Sequence[float] = ()


def at_most_linear(points: Sequence[Point]) -> dict[str, bool]:
    """Tell of each of `JUDGED` whether the time grows no faster than along a straight line.

    What is judged is how much each further unit of the amount costs: between two neighbouring
    points it must not be more than between the first two, by more than `_STEEPER` and what the
    spread of the times explains. The cost that every image has cancels out.

    Where the second point is no slower than the first, there is no such cost to hold others
    against; then time over amount must not rise from one point to the next.

    Args:
        points: Of rising amounts for each thing. A thing with a single one is not judged.
    """
    kinds = {what: [one for one in points if one.what == what] for what in JUDGED}
    return {what: _is_at_most_linear(kind) for what, kind in kinds.items() if len(kind) > 1}


def _is_at_most_linear(points: Sequence[Point]) -> bool:
    segments = list(pairwise(points))
    start, second = segments[0]
    if second.seconds.median <= start.seconds.median:
        return all(_low(b) / b.amount <= _high(a) / a.amount for a, b in segments)
    most = _STEEPER * (_high(second) - _low(start)) / (second.amount - start.amount)
    return all((_low(b) - _high(a)) / (b.amount - a.amount) <= most for a, b in segments[1:])


def _low(point: Point) -> float:
    """Return the lower quartile of the seconds, or further down: few rounds may happen to agree."""
    return min(point.seconds.lower, (1 - _NOISE) * point.seconds.median)


def _high(point: Point) -> float:
    return max(point.seconds.upper, (1 + _NOISE) * point.seconds.median)


class _Setting(NamedTuple):
    """How a point is measured."""

    what: str
    amount: float
    inputs: list[dict[str, Any]]
    threshold: float
    objects: int
    proposals: int
    threads: int


def benchmark_growth(
    subject: Subject,
    rounds: Rounds,
    objects: Sequence[int] | None = None,
    sides: Sequence[float] = SIDES,
    after_round: Callable[[int], None] = lambda done: None,
) -> list[Point]:
    """Time a model on its first image while one thing after the other changes.

    Everything else stays as the config says; the settings take turns.

    Args:
        subject: A model with one box predictor.
        rounds: How often each is timed.
        objects: Numbers of objects to ask for; by default `OBJECTS`.
        sides: Sizes of the image, relative to its own.
        after_round: Is told how many rounds are done.

    Raises:
        ValueError: The image does not yield so many objects, or ``rounds`` asks for no round.
    """
    check_rounds(rounds)
    model: Any = DefaultPredictor(subject.cfg).model
    settings = _settings(subject, model, OBJECTS if objects is None else objects, sides)
    threads = torch.get_num_threads()
    contestants = [
        Contestant(f"{one.what} {one.amount:g}", _runner(model, one)) for one in settings
    ]
    try:
        times = time_rounds(contestants, rounds, after_round=after_round)
    finally:
        torch.set_num_threads(threads)
    return [
        _point(one, np.asarray(seconds) / len(one.inputs))
        for one, seconds in zip(settings, times.values(), strict=True)
    ]


def _point(setting: _Setting, seconds: np.ndarray) -> Point:
    return Point(setting.what, setting.amount, spread_of(seconds), seconds.tolist())


def _settings(
    subject: Subject, model: Any, objects: Sequence[int], sides: Sequence[float]
) -> list[_Setting]:
    cfg, image = subject.cfg.clone(), subject.images[0]
    generator, predictor = model.proposal_generator, model.roi_heads.box_predictor
    usual = [_input(subject, image, 1.0)]
    now = _Setting(
        "",
        0,
        usual,
        predictor.test_score_thresh,
        predictor.test_topk_per_image,
        generator.post_nms_topk[False],
        torch.get_num_threads(),
    )

    def with_objects(inputs: list[dict[str, Any]], number: int) -> _Setting:
        ask_for_objects(cfg, model, inputs, number)
        return now._replace(inputs=inputs, threshold=predictor.test_score_thresh, objects=number)

    settings = []
    for side in sides:
        inputs = [_input(subject, image, side)]
        area = inputs[0]["height"] * inputs[0]["width"] / 1e6
        settings.append(with_objects(inputs, now.objects)._replace(what="megapixels", amount=area))
    for number in PROPOSALS:
        settings.append(now._replace(what="proposals", amount=number, proposals=number))
    for number in objects:
        settings.append(with_objects(usual, number)._replace(what="objects", amount=number))
    for number in BATCHES:
        one = now._replace(what="images in a batch", amount=number, inputs=usual * number)
        settings.append(one)
    for number in range(1, now.threads + 1):
        settings.append(now._replace(what="threads", amount=number, threads=number))
    return settings


def _input(subject: Subject, image: np.ndarray, side: float) -> dict[str, Any]:
    """Return an image of another size, for a network that takes it in that size."""
    size_wh = (round(image.shape[1] * side), round(image.shape[0] * side))
    resized = np.asarray(Image.fromarray(image).resize(size_wh, Image.Resampling.BILINEAR))
    cfg = subject.cfg.clone()
    cfg.defrost()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = min(size_wh), max(size_wh)
    return prepare_bgr_image(resized, cfg)


def _runner(model: Any, setting: _Setting) -> Callable[[], None]:
    """Return what brings a model into a setting and runs it to pasted masks."""
    synchronize = getattr(torch, model.device.type).synchronize

    @torch.no_grad()
    def run() -> None:
        torch.set_num_threads(setting.threads)
        model.proposal_generator.post_nms_topk[False] = setting.proposals
        predictor = model.roi_heads.box_predictor
        predictor.test_score_thresh = setting.threshold
        predictor.test_topk_per_image = setting.objects
        model(setting.inputs)
        synchronize()

    return run

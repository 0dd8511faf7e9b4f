"""Task ``growth``: how the time of an image grows with what it holds and how it is run."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from d2seg.benchmark.comparison import Spread, spread_of
from d2seg.benchmark.random_weights import ask_for_objects
from d2seg.benchmark.rounds import Contestant, Rounds, time_rounds
from d2seg.benchmark.subject import Subject
from d2seg.framework import DefaultPredictor
from d2seg.images import prepare_image

SIDES = (0.5, 0.75, 1.0, 1.25)
"""Of the image, relative to the one that is given."""

OBJECTS = (10, 100, 1000)
PROPOSALS = (100, 300, 1000)
BATCHES = (1, 2, 4)


class Point(NamedTuple):
    """One measurement.

    Attributes:
        what: What grows: ``megapixels``, ``proposals``, ``objects``, ``images in a batch`` or
            ``threads``.
        amount: How much of it there is.
        seconds: For one image, over the rounds.
    """

    what: str
    amount: float
    seconds: Spread


def at_most_linear(points: Sequence[Point]) -> dict[str, bool]:
    """Tell of each thing that grows whether the time grows no faster than in proportion to it.

    Of every measurement, time over amount is held against that of the first of its kind. Threads,
    which take time away, are left out; so is a batch, whose points are of one image each.
    """
    first: dict[str, Point] = {}
    found: dict[str, bool] = {}
    for point in points:
        if point.what not in ("megapixels", "proposals", "objects"):
            continue
        start = first.setdefault(point.what, point)
        proportional = start.seconds.median * point.amount / start.amount
        found[point.what] = found.get(point.what, True) and point.seconds.median <= proportional
    return found


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
        ValueError: The image does not yield so many objects.
    """
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
        Point(one.what, one.amount, spread_of(np.asarray(seconds) / len(one.inputs)))
        for one, seconds in zip(settings, times.values(), strict=True)
    ]


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
    ordered = resized if cfg.INPUT.FORMAT == "BGR" else resized[:, :, ::-1]
    return prepare_image(ordered, cfg)


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

"""Task ``features``: the rate of feature extraction by depth, against the whole model."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from d2seg.benchmark.comparison import Comparison, compare
from d2seg.benchmark.rounds import Contestant, Rounds, time_rounds
from d2seg.benchmark.work import Batches, available_stages
from d2seg.features import FeatureExtractor

WHOLE_MODEL = "whole model"
EVERYTHING = "everything"
"""The name of a contestant that hands out all stages at once."""

TEN_ROUNDS = Rounds()
LATER_STAGES = (
    "sem_seg",
    "proposals",
    "instances",
    "box_head",
    "mask_pooler",
    "keypoint_pooler",
)
"""Timed by default after the backbone, in models that have them."""


def benchmark_features(
    model: nn.Module,
    batches: Batches,
    stages: Sequence[str] | None = None,
    rounds: Rounds = TEN_ROUNDS,
    after_round: Callable[[int], None] = lambda done: None,
) -> list[Comparison]:
    """Compare how many images a second the extraction of each stage handles.

    The images are in memory, decoded and resized: neither side is charged for that.

    Args:
        model: In evaluation mode.
        batches: Inputs of the model, batch by batch.
        stages: One contestant each; ``everything`` is all stages at once. None: the first level of
            the backbone, the whole backbone, `LATER_STAGES` and everything.
        rounds: How often each is timed.
        after_round: Is told how many rounds are done.

    Returns:
        The whole model, which is the baseline, then the stages in the order given.

    Raises:
        ValueError: There is no image, or a stage is unknown.
    """
    num_images = sum(len(batch) for batch in batches)
    if not num_images:
        raise ValueError("There is no image to measure with; give at least one.")
    device = next(model.parameters()).device
    contestants = [Contestant(WHOLE_MODEL, _on_each(batches, _whole_model(model), device))]
    for stage in dict.fromkeys(default_stages(model) if stages is None else stages):
        wanted = available_stages(model) if stage == EVERYTHING else [stage]
        extract = FeatureExtractor(model, wanted).extract
        contestants.append(Contestant(stage, _on_each(batches, extract, device)))
    times = time_rounds(contestants, rounds, after_round=after_round)
    return compare(times, WHOLE_MODEL, num_images)


def default_stages(model: nn.Module) -> list[str]:
    """Return the contestants that show how the rate falls with the depth."""
    available = available_stages(model)
    first_level = next(stage for stage in available if stage.startswith("backbone."))
    later = [stage for stage in LATER_STAGES if stage in available]
    return [first_level, "backbone", *later, EVERYTHING]


def _whole_model(model: Any) -> Callable[[list[dict[str, Any]]], object]:
    """Return what runs the model to its results, without pasting masks where it can do so."""

    @torch.no_grad()
    def run(batch: list[dict[str, Any]]) -> object:
        if hasattr(model, "roi_heads"):
            return model.inference(batch, do_postprocess=False)
        return model(batch)

    return run


def _on_each(
    batches: Batches, work: Callable[[Any], object], device: torch.device
) -> Callable[[], None]:
    """Return a call that works through all batches and waits until the device has done so."""
    synchronize = getattr(torch, device.type).synchronize

    def run() -> None:
        for batch in batches:
            work(batch)
        synchronize()

    return run

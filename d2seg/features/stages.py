"""The stages of a model that features come from: their names, order and outputs."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

PROPOSALS, INSTANCES = "proposals", "instances"
REQUIRED_PARTS = ("preprocess_image", "backbone", "proposal_generator", "roi_heads")
HEAD_STAGES = ("box_pooler", "box_head", "mask_pooler", "mask_head")

MEANINGS = {
    "backbone": "feature map of the whole padded network input (C, h, w)",
    "proposals.boxes": "proposed boxes (P, 4), XYXY pixels of the network input",
    "proposals.logits": "objectness of each proposal (P,), before the sigmoid",
    "instances.boxes": "detected boxes (N, 4), XYXY pixels of the network input",
    "instances.scores": "score of each detection (N,), 0..1, falling",
    "instances.classes": "class index of each detection (N,)",
    "box_pooler": "features pooled inside each detected box, for the box head (N, C, S, S)",
    "box_head": "output of the box head for each detected box (N, D), or (N, C, S, S) in C4 models",
    "mask_pooler": "features pooled inside each detected box, for the mask head (N, C, S, S)",
    "mask_head": "mask probabilities of each detection for its class, in its box (N, 1, M, M)",
}


def available_stages(model: Any) -> list[str]:
    """List every stage name that this model has, from the first to the last to run.

    Raises:
        TypeError: The model is not a GeneralizedRCNN.
    """
    if any(getattr(model, part, None) is None for part in REQUIRED_PARTS):
        raise TypeError(
            f"Features come from a GeneralizedRCNN (with {', '.join(REQUIRED_PARTS)}), "
            f"got {type(model).__name__}."
        )
    levels = [f"backbone.{level}" for level in model.backbone.output_shape()]
    heads = [stage for stage in HEAD_STAGES if getattr(model.roi_heads, stage, None) is not None]
    return ["backbone", *levels, PROPOSALS, INSTANCES, *heads]


def check_stages(stages: Sequence[str], available: Iterable[str]) -> None:
    """Make sure that every stage is one of those available.

    Raises:
        TypeError: ``stages`` is a single string.
        ValueError: There is none, or one is unknown; the message names the nearest valid ones.
    """
    if isinstance(stages, str):
        raise TypeError(f"stages must be a list of names, got the string '{stages}'.")
    available = list(available)
    everything = ", ".join(available)
    if not stages:
        raise ValueError(f"No stage was given; this model has: {everything}.")
    for stage in stages:
        if stage not in available:
            nearest = difflib.get_close_matches(stage, available, n=3)
            hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
            raise ValueError(f"Unknown stage '{stage}'.{hint} This model has: {everything}.")


def meaning_of(tensor_name: str) -> str:
    """Say what a tensor of this name holds, e.g. ``backbone.p3`` or ``instances.scores``."""
    return MEANINGS.get(tensor_name) or MEANINGS[tensor_name.partition(".")[0]]

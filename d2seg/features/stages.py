"""The stages of a model that features come from: their names and what their tensors hold."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from d2seg.features.hooks import find_module, module_path

BOX_STAGES = ("box_pooler", "box_head", "class_logits", "class_probs")
HEAD_STAGES = {
    kind: (f"{kind}_pooler", f"{kind}_head", f"{kind}_logits") for kind in ("mask", "keypoint")
}
"""The stages of each head that works on the final boxes."""

OBJECT_STAGES = (*BOX_STAGES, *HEAD_STAGES["mask"], *HEAD_STAGES["keypoint"])
"""The stages with a row for each detection, or for each box that was given."""

OBJECTS, PROPOSALS = "objects", "proposals"
"""What the rows of a tensor stand for."""

_MEANINGS = {
    "backbone": "feature map of the whole padded network input (C, h, w)",
    "sem_seg": "logits of the semantic classes over the padded network input (K, h, w)",
    "proposals.boxes": "proposed boxes (P, 4), XYXY pixels of the network input",
    "proposals.logits": "objectness of each proposal (P,), before the sigmoid",
    "instances.boxes": "boxes of the objects (N, 4), XYXY pixels of the network input",
    "instances.scores": "score of each object (N,), 0..1; falling for detections",
    "instances.classes": "class index of each object (N,)",
    "instances.proposal_boxes": "the region (N, 4) that the box head judged for each object",
    "box_pooler": "features pooled for the box head, of each object (N, C, S, S)",
    "box_head": "output of the box head for each object (N, D), or (N, C, s, s) in C4 models",
    "class_logits": "logits of all classes for each object (N, K + 1), background last; of "
    "one-stage models (N, K)",
    "class_probs": "probabilities of all classes for each object (N, K + 1), background last; of "
    "one-stage models (N, K), of FCOS without the centerness that its scores have too",
    "mask_pooler": "features pooled inside the box of each object, for the mask head (N, C, S, S)",
    "mask_head": "mask probabilities of each object for its class, in its box (N, 1, M, M)",
    "mask_logits": "mask logits of each object for all classes, in its box (N, K or 1, M, M)",
    "keypoint_pooler": "features pooled inside the box of each object, for the keypoint head "
    "(N, C, S, S)",
    "keypoint_head": "keypoints of each object (N, K, 3): x, y in pixels of the network input, "
    "and a score",
    "keypoint_logits": "heat maps of the keypoints of each object, in its box (N, K, M, M)",
}


_ROTATED = (
    "rotated boxes (N, 5): centre x and y, width, height in pixels of the network input, and "
    "degrees anticlockwise"
)


def check_stages(model: nn.Module, stages: Sequence[str], available: Iterable[str]) -> None:
    """Make sure that every stage is one of those available, or a module of the model.

    Raises:
        TypeError: ``stages`` is a single string, or not of strings.
        ValueError: There is none, or one is unknown; the message names the nearest valid ones.
    """
    if isinstance(stages, str):
        raise TypeError(f"stages must be a list of names, got the string '{stages}'.")
    if not all(isinstance(stage, str) for stage in stages):
        raise TypeError(f"stages must be a list of names, got {list(stages)}.")
    available = list(available)
    if not stages:
        raise ValueError(f"No stage was given; this model has: {', '.join(available)}.")
    for stage in stages:
        if stage not in available and not _is_module(model, stage):
            raise ValueError(_unknown(model, stage, available))


def meaning_of(tensor_name: str, shape: Sequence[int] = ()) -> str:
    """Say what a tensor of a named stage holds, e.g. ``backbone.p3`` or ``instances.scores``."""
    if tensor_name.endswith("boxes") and list(shape[1:]) == [5]:
        return _ROTATED
    stage = tensor_name.partition(".")[0]
    return _MEANINGS.get(tensor_name) or _MEANINGS.get(stage) or _MEANINGS["backbone"]


def rows_of(stage: str) -> str | None:
    """Return what the rows of a named stage's tensors stand for; None for maps."""
    if stage in OBJECT_STAGES or stage == "instances":
        return OBJECTS
    return PROPOSALS if stage == "proposals" else None


def _is_module(model: Any, stage: str) -> bool:
    try:
        find_module(model, stage)
    except ValueError:
        return False
    return True


def _unknown(model: nn.Module, stage: str, available: list[str]) -> str:
    modules = [name for name, _ in model.named_modules() if "." in name]
    nearest = difflib.get_close_matches(module_path(stage), [*available, *modules], n=3)
    hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
    return (
        f"Unknown stage '{stage}'.{hint} This model has: {', '.join(available)}; and the path of "
        "any of its modules, such as backbone.bottom_up."
    )

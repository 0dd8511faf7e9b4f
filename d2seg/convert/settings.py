"""Reading a model's architecture off the names and shapes of its tensors."""

import re
from collections.abc import Mapping

from torch import Tensor

from d2seg.convert.head_settings import Settings, head_settings
from d2seg.convert.layers import count_numbers, norm_of, some_names, weight_of

_DEPTHS: dict[tuple[bool, tuple[int, ...]], int] = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
}


def infer_settings(model: Mapping[str, Tensor]) -> Settings:
    """Find the config keys that follow from the tensors of a two-stage detector or of a backbone.

    Args:
        model: detectron2's name to tensor; a backbone's names begin with ``stem`` and ``res2``.

    Returns:
        Only keys that are known; what leaves no trace in the tensors is not among them.

    Raises:
        ValueError: It is no ResNet, or not one of a known depth.
    """
    prefix = next((p for p in _PREFIXES if f"{p}stem.conv1.weight" in model), None)
    if prefix is None:
        raise ValueError(
            "The file has no stem.conv1.weight of a ResNet, and only models on a ResNet can be "
            f"converted; its tensors are {some_names(model)}."
        )
    settings = _resnet_settings(model, prefix)
    if "proposal_generator.rpn_head.objectness_logits.weight" not in model:
        return settings
    if prefix == "backbone.bottom_up.":
        settings |= _pyramid_settings(model)
    return settings | _proposal_settings(model) | head_settings(model)


_PREFIXES = ("backbone.bottom_up.", "backbone.", "")


def _resnet_settings(model: Mapping[str, Tensor], prefix: str) -> Settings:
    stem = weight_of(model, f"{prefix}stem.conv1")
    bottleneck = f"{prefix}res2.0.conv3.weight" in model
    middle = weight_of(model, f"{prefix}res2.0.conv2")
    groups = len(middle) // middle.shape[1]
    last = weight_of(model, f"{prefix}res2.0.conv{3 if bottleneck else 2}")
    return {
        "MODEL.RESNETS.DEPTH": _depth(model, prefix, bottleneck),
        "MODEL.RESNETS.NORM": norm_of(model, f"{prefix}stem.conv1"),
        "MODEL.RESNETS.NUM_GROUPS": groups,
        "MODEL.RESNETS.WIDTH_PER_GROUP": len(middle) // groups if bottleneck else 64,
        "MODEL.RESNETS.STEM_OUT_CHANNELS": len(stem),
        "MODEL.RESNETS.RES2_OUT_CHANNELS": len(last),
    }


def _depth(model: Mapping[str, Tensor], prefix: str, bottleneck: bool) -> int:
    counts = [
        count_numbers(model, rf"{re.escape(prefix)}res{stage}\.(\d+)\.") for stage in (2, 3, 4, 5)
    ]
    if counts[3] == 0:
        counts[3] = 3  # C4: the last stage is among the heads, or not there at all
    depth = _DEPTHS.get((bottleneck, tuple(counts)))
    if depth is None:
        raise ValueError(
            f"The file's ResNet has {counts} blocks in its stages, which is none of the depths "
            f"{', '.join(map(str, sorted(_DEPTHS.values())))} that can be converted."
        )
    return depth


def _pyramid_settings(model: Mapping[str, Tensor]) -> Settings:
    return {
        "MODEL.FPN.OUT_CHANNELS": len(weight_of(model, "backbone.fpn_lateral2")),
        "MODEL.FPN.NORM": norm_of(model, "backbone.fpn_lateral2"),
    }


def _proposal_settings(model: Mapping[str, Tensor]) -> Settings:
    head = "proposal_generator.rpn_head.conv"
    count = count_numbers(model, rf"{re.escape(head)}\.conv(\d+)\.")
    names = [f"{head}.conv{index}" for index in range(count)] or [head]
    convs = [weight_of(model, name) for name in names]
    same = all(conv.shape[0] == conv.shape[1] for conv in convs)
    return {"MODEL.RPN.CONV_DIMS": [-1 if same else len(conv) for conv in convs]}

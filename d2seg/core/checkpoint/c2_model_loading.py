"""Matching parameter names of other code bases, Caffe2's Detectron first, to those of a model."""

import logging
import re
from collections.abc import Iterable, Mapping

import torch
from fvcore.common.checkpoint import (
    get_missing_parameters_message,
    get_unexpected_parameters_message,
)
from torch import Tensor

logger = logging.getLogger(__name__)

Rules = tuple[tuple[str, str], ...]

# Each rule (pattern, replacement) sees what the rules above it left.
_BACKBONE_RULES: Rules = (
    (r"^pred_(?=[bw]$)", "linear_"),
    (r"_", "."),
    (r"\.b$", ".bias"),
    (r"\.w$", ".weight"),
    # Batch and group norm, in the spellings of Caffe2 and of pycls.
    (r"[bg]n\.(?:s|gamma)$", "norm.weight"),
    (r"[bg]n\.(?:bias|beta)$", "norm.bias"),
    (r"bn\.(?:rm|running\.mean)$", "norm.running_mean"),
    (r"bn\.(?:riv|running\.var)$", "norm.running_var"),
    # The stem is told apart from the conv1 that every block and head has.
    (r"^(?:res\.)?conv1\.", "stem.conv1."),
    (r"\.branch1\.", ".shortcut."),
    (r"\.branch2a\.", ".conv1."),
    (r"\.branch2b\.", ".conv2."),
    (r"\.branch2c\.", ".conv3."),
)

_DETECTOR_RULES: Rules = (
    # Levels share one RPN head; Caffe2 keeps it under the name of the first, fpn2.
    (r"conv\.rpn(?:\.fpn2)?", "proposal_generator.rpn_head.conv"),
    (r"rpn\.bbox\.pred(?:\.fpn2)?", "proposal_generator.rpn_head.anchor_deltas"),
    (r"rpn\.cls\.logits(?:\.fpn2)?", "proposal_generator.rpn_head.objectness_logits"),
    (r"^bbox\.pred", "bbox_pred"),
    (r"^cls\.score", "cls_score"),
    (r"^fc6\.", "box_head.fc1."),
    (r"^fc7\.", "box_head.fc2."),
    (r"^head\.conv", "box_head.conv"),
    # fpn.inner.res2.2.sum.lateral.weight -> fpn_lateral2.weight, likewise with a norm.
    (r"^fpn\.inner\.res(\d+)\..*?(\.norm)?\.(\w+)$", r"fpn_lateral\1\2.\3"),
    (r"^fpn\.res(\d+)\..*?(\.norm)?\.(\w+)$", r"fpn_output\1\2.\3"),
    (r"^\.(?:mask|\[mask\])\.fcn", "mask_head.mask_fcn"),
    (r"mask\.fcn\.logits", "mask_head.predictor"),
    (r"conv5\.mask", "mask_head.deconv"),
    (r"conv\.fcn", "roi_heads.keypoint_head.conv_fcn"),
    (r"kps\.score\.lowres", "roi_heads.keypoint_head.score_lowres"),
    (r"kps\.score\.", "roi_heads.keypoint_head.score."),
)


def convert_basic_c2_names(original_keys: Iterable[str]) -> list[str]:
    """Return the names that Caffe2's backbone weights have here, in the same order."""
    return [_rename(key, _BACKBONE_RULES) for key in original_keys]


def convert_c2_detectron_names(
    weights: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Rename the weights of a Caffe2 detector, and move the background class to where it is here.

    Caffe2 counts the background as class 0. Here it is the last class of the classifier, and box
    regression and masks have none.

    Args:
        weights: Caffe2 name to tensor; left as it is.

    Returns:
        New name to tensor, and new name to Caffe2 name.

    Raises:
        ValueError: Two names become one.
    """
    converted: dict[str, Tensor] = {}
    originals: dict[str, str] = {}
    for original in sorted(weights):
        key = _rename(original, _BACKBONE_RULES + _DETECTOR_RULES)
        if key in converted:
            raise ValueError(
                f"The Caffe2 names '{originals[key]}' and '{original}' both stand for '{key}'; the "
                "checkpoint must hold one of them."
            )
        converted[key] = _reorder_classes(key, weights[original])
        originals[key] = original
    return converted, originals


def align_and_update_state_dicts(
    model_state_dict: Mapping[str, Tensor],
    ckpt_state_dict: Mapping[str, Tensor],
    c2_conversion: bool = True,
) -> dict[str, Tensor]:
    """Give checkpoint tensors the names of the model by the longest matching suffix.

    ``res2.0.conv1.weight`` of a backbone checkpoint is ``backbone.bottom_up.res2.0.conv1.weight``
    of a detector. Suffixes end at a dot: ``conv1`` is none of ``my_conv1``. A pair whose shapes
    differ is left out with a warning.

    Args:
        model_state_dict: Name to tensor of the model; left as it is.
        ckpt_state_dict: Name to tensor of the checkpoint; left as it is.
        c2_conversion: Whether the checkpoint has Caffe2 names, to be converted first.

    Returns:
        Model name to checkpoint tensor; tensors that match nothing keep the checkpoint's name.

    Raises:
        ValueError: One checkpoint tensor matches several places of the model.
    """
    originals = {key: key for key in ckpt_state_dict}
    if c2_conversion:
        ckpt_state_dict, originals = convert_c2_detectron_names(ckpt_state_dict)
    pairs = _match_suffixes(model_state_dict, ckpt_state_dict, originals)
    for model_key, ckpt_key in pairs.items():
        logger.debug("%s is loaded from %s", model_key, originals[ckpt_key])
    unmatched = [key for key in ckpt_state_dict if key not in set(pairs.values())]
    missing = [key for key in model_state_dict if key not in pairs]
    if missing:
        logger.info(get_missing_parameters_message(missing))
    if unmatched:
        logger.info(get_unexpected_parameters_message([originals[key] for key in unmatched]))
    matched = {model_key: ckpt_state_dict[ckpt_key] for model_key, ckpt_key in pairs.items()}
    return {**{key: ckpt_state_dict[key] for key in unmatched}, **matched}


def _match_suffixes(
    model_state_dict: Mapping[str, Tensor],
    ckpt_state_dict: Mapping[str, Tensor],
    originals: Mapping[str, str],
) -> dict[str, str]:
    """Return model key to checkpoint key, for keys that match and have one shape."""
    pairs: dict[str, str] = {}
    taken: dict[str, str] = {}
    for model_key, parameter in model_state_dict.items():
        ckpt_key = _longest_suffix(model_key, ckpt_state_dict)
        if ckpt_key is None:
            continue
        shape = tuple(ckpt_state_dict[ckpt_key].shape)
        if shape != tuple(parameter.shape):
            logger.warning(
                "'%s' is not loaded: its shape is %s in the checkpoint, and that of '%s' in the "
                "model is %s.",
                originals[ckpt_key],
                shape,
                model_key,
                tuple(parameter.shape),
            )
            continue
        if ckpt_key in taken:
            raise ValueError(
                f"'{originals[ckpt_key]}' of the checkpoint is ambiguous: it matches both "
                f"'{taken[ckpt_key]}' and '{model_key}' of the model."
            )
        pairs[model_key] = ckpt_key
        taken[ckpt_key] = model_key
    return pairs


def _longest_suffix(model_key: str, names: Mapping[str, Tensor]) -> str | None:
    parts = model_key.split(".")
    suffixes = (".".join(parts[start:]) for start in range(len(parts)))
    return next((suffix for suffix in suffixes if suffix in names), None)


def _rename(key: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def _reorder_classes(key: str, weight: Tensor) -> Tensor:
    """Drop or move the first class, the background, of a prediction layer's weight or bias."""
    if key.startswith("bbox_pred."):
        return weight[4:]
    if key.startswith("mask_head.predictor."):
        return weight[1:]
    if key.startswith("cls_score."):
        return torch.roll(weight, -1, dims=0)
    return weight

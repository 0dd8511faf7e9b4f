"""Telling a checkpoint of another model from one that merely lacks a few parameters."""

from collections.abc import Mapping, Sequence

from torch import Tensor

SMALLEST_SHARE = 0.1
"""Below this share of keys that fit, of the smaller side, the checkpoint is another model's."""

_EXAMPLES = 3


def require_fit(
    state_dict: Mapping[str, Tensor], model_state_dict: Mapping[str, Tensor], path: str
) -> None:
    """Check that a checkpoint is of this model or of a part or relative of it.

    Args:
        state_dict: Name to tensor of the checkpoint, after renaming.
        model_state_dict: Name to tensor of the model.
        path: File of the checkpoint, for the message.

    Raises:
        ValueError: None, or hardly any, of its tensors have a place of their name and shape.
    """
    same_name = [key for key in state_dict if key in model_state_dict]
    reshaped = [key for key in same_name if state_dict[key].shape != model_state_dict[key].shape]
    fitting = len(same_name) - len(reshaped)
    if fitting > SMALLEST_SHARE * min(len(state_dict), len(model_state_dict)):
        return
    if not model_state_dict:
        return
    missing = [key for key in model_state_dict if key not in state_dict]
    unexpected = [key for key in state_dict if key not in model_state_dict]
    shapes = [
        f"{key} ({_shape(state_dict[key])}, the model has {_shape(model_state_dict[key])})"
        for key in reshaped
    ]
    raise ValueError(
        f"Checkpoint '{path}' is of another model: {fitting} of its {len(state_dict)} keys fit the "
        f"model's {len(model_state_dict)} by name and shape."
        + _listed("missing", missing)
        + _listed("unexpected", unexpected)
        + _listed("of another shape", shapes)
        + " Check that --config-file is the config this checkpoint was trained with."
    )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _listed(kind: str, keys: Sequence[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - _EXAMPLES} more" if len(keys) > _EXAMPLES else ""
    return f" {len(keys)} {kind}: {', '.join(keys[:_EXAMPLES])}{more}."

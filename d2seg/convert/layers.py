"""Looking up layers among the tensors of a model, by detectron2's names."""

import re
from collections.abc import Mapping

from torch import Tensor


def norm_of(model: Mapping[str, Tensor], layer: str) -> str:
    """Tell the norm behind a layer, as a config names it; empty for none.

    Args:
        model: detectron2's name to tensor.
        layer: Such as ``backbone.bottom_up.stem.conv1``.
    """
    if f"{layer}.norm.weight" not in model:
        return ""
    if f"{layer}.norm.running_mean" not in model:
        return "GN"
    return "BN" if f"{layer}.norm.num_batches_tracked" in model else "FrozenBN"


def weight_of(model: Mapping[str, Tensor], layer: str, dims: int = 4) -> Tensor:
    """Return the weight of a convolution, or of a linear layer with two dimensions.

    Raises:
        ValueError: There is none, or it has another number of dimensions, or no values.
    """
    weight = model.get(f"{layer}.weight")
    if weight is None:
        raise ValueError(
            f"The file has no {layer}.weight, which the rest of its names tell of; its tensors are "
            f"{some_names(model)}."
        )
    if weight.dim() != dims or weight.numel() == 0:
        raise ValueError(
            f"{layer}.weight has the shape {tuple(weight.shape)}, but must have {dims} dimensions, "
            "none of them 0."
        )
    return weight


def count_numbers(model: Mapping[str, Tensor], pattern: str) -> int:
    """Count the different numbers that the first group of a pattern finds in the names."""
    return len({found[1] for name in model if (found := re.match(pattern, name))})


def some_names(model: Mapping[str, Tensor]) -> str:
    """Name a few tensors, for a message."""
    names = sorted(model)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

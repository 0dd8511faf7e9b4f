"""The description that goes with tensors."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def complete_description(
    tensors: Mapping[str, Tensor], description: Mapping[str, Any]
) -> dict[str, Any]:
    """Fill in the real shape and dtype of each tensor.

    Args:
        tensors: Names to tensors.
        description: What is known; ``description["tensors"]`` may leave out tensors, not add some.

    Returns:
        A new description whose ``tensors`` are those given, in their order.

    Raises:
        ValueError: It is about a tensor that is not there.
    """
    more: Mapping[str, Mapping[str, Any]] = description.get("tensors", {})
    strangers = sorted(set(more) - set(tensors))
    if strangers:
        raise ValueError(
            f"The description is about tensors that are not there: {', '.join(strangers)}."
        )
    return {
        **description,
        "tensors": {
            name: {**more.get(name, {}), **_kind(tensor)} for name, tensor in tensors.items()
        },
    }


def _kind(tensor: Tensor) -> dict[str, Any]:
    return {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}

"""Features in half the space."""

from collections.abc import Mapping

import torch
from torch import Tensor

PIXELS = ("proposals.boxes", "keypoint_head")


def halve(tensors: Mapping[str, Tensor], image: str) -> dict[str, Tensor]:
    """Convert floating point tensors to float16, except pixel coordinates and scores.

    From 2048 on, float16 steps by two pixels, and by 0.0005 below a score of 1. So all of
    ``instances.*``, ``proposals.boxes`` and ``keypoint_head`` stay as they are.

    Args:
        tensors: Names to tensors; not modified.
        image: Named in errors.

    Returns:
        New tensors where something is converted, the given ones elsewhere.

    Raises:
        ValueError: A finite value is beyond the range of float16 (65504).
    """
    return {name: _halved(name, tensor, image) for name, tensor in tensors.items()}


def _halved(name: str, tensor: Tensor, image: str) -> Tensor:
    if name.startswith("instances.") or name in PIXELS or not tensor.is_floating_point():
        return tensor
    half = tensor.to(torch.float16)
    if bool((half.isinf() & tensor.isfinite()).any()):
        largest = float(tensor[tensor.isfinite()].abs().max())
        raise ValueError(
            f"Tensor '{name}' of image '{image}' reaches {largest:g}, and float16 ends at 65504; "
            "store these features in full precision."
        )
    return half

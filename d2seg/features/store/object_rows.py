"""Per-object features of an image as columns of a table."""

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from d2seg.features.store.base import Features

BOXES, SCORES, CLASSES = "instances.boxes", "instances.scores", "instances.classes"
FIXED = (BOXES, SCORES, CLASSES)
"""The tensors that have columns of their own; further ``instances.*`` have none."""


def check_rows(tensors: Mapping[str, Mapping[str, Any]]) -> None:
    """Make sure that tensors have a row per object.

    Args:
        tensors: Tensor names to their description.

    Raises:
        ValueError: One has not, or is not of floating point, or there are no upright boxes.
    """
    for name, about in tensors.items():
        if name.startswith("instances."):
            continue
        is_float = "float" in about.get("dtype", "float")
        if about.get("rows") != "objects" or not is_float:
            problem = "is not of floating point" if not is_float else "has no such rows"
            raise ValueError(
                f"Parquet holds a row of floating point numbers per object, and '{name}' "
                f"{problem}; leave it out, or use the format safetensors or zarr."
            )
    if BOXES not in tensors:
        raise ValueError(
            f"Parquet needs '{BOXES}' to have a row per object; got: {', '.join(tensors) or '-'}."
        )
    if list(tensors[BOXES].get("shape", ()))[1:] == [5]:
        raise ValueError(
            "Parquet has no columns for rotated boxes; use the format safetensors or zarr."
        )


def object_vectors(tensors: Features, image: str) -> Features:
    """Reduce each stage to one vector per object.

    Args:
        tensors: Of one image; of N objects each.
        image: Named in errors.

    Returns:
        (N, D) float32 each: (N, C, S, S) is averaged over its cells to (N, C), all else is
        flattened. Without ``instances.*``.

    Raises:
        ValueError: A tensor has another number of rows than there are boxes.
    """
    vectors = {}
    for name, tensor in tensors.items():
        if tensor.dim() == 0 or len(tensor) != len(tensors[BOXES]):
            raise ValueError(
                f"'{name}' of image '{image}' has the shape {tuple(tensor.shape)}, expected "
                f"{len(tensors[BOXES])} rows, one per box."
            )
        if not name.startswith("instances."):
            vectors[name] = _vectors(tensor.float())
    return vectors


def describe_vectors(tensors: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Describe what :func:`object_vectors` and the fixed columns keep of tensors.

    Args:
        tensors: Tensor names to their description, with shapes.

    Returns:
        The same without shapes and dtypes, which the table knows; the meaning says where cells
        were averaged.
    """
    kept = {}
    for name, about in tensors.items():
        if name in FIXED or not name.startswith("instances."):
            kept[name] = {key: about[key] for key in about if key not in ("shape", "dtype")}
            if not name.startswith("instances.") and len(about["shape"]) == 4:
                cells = " x ".join(map(str, about["shape"][2:]))
                meaning = about.get("meaning", name)
                kept[name]["meaning"] = f"{meaning}; averaged over its {cells} cells"
    return kept


def pixels_per_input_pixel(description: Mapping[str, Any]) -> Tensor:
    """Return the factors (4,) from XYXY pixels of the network input to those of the image.

    Raises:
        ValueError: The description of the image lacks one of the two sizes.
    """
    image = description.get("image", {})
    if not {"original_size_hw", "network_size_hw"} <= image.keys():
        raise ValueError(
            "Parquet holds boxes in pixels of the original image, so the description needs "
            f"image.original_size_hw and image.network_size_hw; got: {', '.join(image) or '-'}."
        )
    original = torch.tensor(image["original_size_hw"], dtype=torch.float64)
    factors_hw = original / torch.tensor(image["network_size_hw"], dtype=torch.float64)
    return factors_hw.flip(0).repeat(2)


def _vectors(tensor: Tensor) -> Tensor:
    if tensor.dim() == 4:
        return tensor.mean(dim=(2, 3))
    return tensor.reshape(len(tensor), prod(tensor.shape[1:]))

"""Feature files: named tensors in safetensors with their description, also as JSON beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from d2seg.core.runtime.files import replace_when_complete

METADATA_KEY = "description"


def save_features(
    path: str | Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]
) -> dict[str, Any]:
    """Write tensors to a ``.safetensors`` file and their description to a ``.json`` file beside it.

    The description is stored inside the tensor file as well. Both files appear whole or not at all.

    Args:
        path: The file to write, ending in ``.safetensors``.
        tensors: Names to tensors; on any device, not modified.
        description: What JSON can hold. ``description["tensors"][name]`` may say more about a
            tensor; its shape and dtype are filled in.

    Returns:
        The description as it was written.

    Raises:
        ValueError: ``path`` has another suffix, or the description is about a tensor that is not
            there.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"A feature file ends in .safetensors, got '{path}'.")
    complete = {**description, "tensors": _describe(tensors, description.get("tensors", {}))}
    text = json.dumps(complete, indent=2)
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with (
        replace_when_complete(path.with_suffix(".json")) as json_file,
        replace_when_complete(path) as tensor_file,
    ):
        save_file(stored, tensor_file, metadata={METADATA_KEY: text})
        json_file.write_text(text + "\n", encoding="utf-8")
    return complete


def load(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a feature file back.

    Args:
        path: A ``.safetensors`` file that :func:`save_features` wrote; the ``.json`` is not needed.

    Returns:
        The tensors by name, on the CPU, and the description.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a feature file, or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No feature file at '{path}'.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"'{path}' is not a safetensors file, or is damaged ({error}).") from error
    if METADATA_KEY not in metadata:
        raise ValueError(
            f"'{path}' is a safetensors file without a description; expected one that "
            "d2seg.features.save_features wrote."
        )
    return tensors, json.loads(metadata[METADATA_KEY])


def _describe(
    tensors: Mapping[str, Tensor], more: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    strangers = sorted(set(more) - set(tensors))
    if strangers:
        raise ValueError(
            f"The description is about tensors that are not there: {', '.join(strangers)}."
        )
    return {
        name: {
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype).removeprefix("torch."),
            **more.get(name, {}),
        }
        for name, tensor in tensors.items()
    }

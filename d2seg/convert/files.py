"""Writing weights: whole files or none."""

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from d2seg.core.runtime.files import replace_when_complete
from d2seg.core.runtime.serialize import torch_bytes

AUTHOR = "d2seg"
SUFFIXES = (".pth", ".pkl", ".safetensors")


def check_suffix(path: Path, allowed: tuple[str, ...]) -> None:
    """Refuse an output whose suffix names no kind of file that can be written.

    Raises:
        ValueError: Lists the suffixes that can.
    """
    if path.suffix not in allowed:
        raise ValueError(
            f"The output '{path}' must end in {', '.join(allowed)}, which says how it is written."
        )


def write_checkpoint(
    path: Path,
    model: Mapping[str, Tensor],
    entries: Mapping[str, Any],
    is_backbone: bool,
    class_names: Sequence[str] = (),
) -> None:
    """Write weights with detectron2's names as detectron2 reads them.

    Args:
        path: ``.pth`` is what training writes, ``.pkl`` has arrays; ``.safetensors`` has the
            tensors and the class names alone.
        model: Name to tensor.
        entries: What else a ``.pth`` holds.
        is_backbone: Names are to be matched by their suffix.
        class_names: Those that are known; `d2seg.class_names` finds them there.
    """
    if path.suffix == ".safetensors":
        known = {"classes": json.dumps(list(class_names))} if class_names else {}
        write_tensors(path, model, known)
        return
    if class_names:
        entries = {**entries, "classes": {"thing_classes": list(class_names)}}
    content: dict[str, Any] = {"model": _own_memory(model), "__author__": AUTHOR}
    if is_backbone:
        content["matching_heuristics"] = True
    with replace_when_complete(path) as temporary:
        if path.suffix == ".pkl":
            content["model"] = {name: one.numpy() for name, one in content["model"].items()}
            temporary.write_bytes(pickle.dumps(content, protocol=2))
        else:
            temporary.write_bytes(torch_bytes({**content, **entries}))


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a plain state dict, as ``.pth`` or ``.safetensors``.

    Args:
        path: Its suffix says which.
        tensors: Name to tensor.
        metadata: What a ``.safetensors`` holds beside them.
    """
    with replace_when_complete(path) as temporary:
        if path.suffix == ".safetensors":
            described = {"format": "pt", **(metadata or {})}
            temporary.write_bytes(safetensors_bytes(_own_memory(tensors), described))
        else:
            temporary.write_bytes(torch_bytes(_own_memory(tensors)))


def _own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy what is a part of a larger tensor, or stands twice: files would hold the whole."""
    seen: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        whole = storage.nbytes() == tensor.nbytes and tensor.is_contiguous()
        own[name] = tensor if whole and storage.data_ptr() not in seen else tensor.clone()
        own[name] = own[name].contiguous()
        seen.add(storage.data_ptr())
    return own

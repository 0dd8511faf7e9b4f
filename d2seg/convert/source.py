"""Reading a weight file of any known toolbox, under detectron2's names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from d2seg.core.checkpoint.files import find_checkpoint, read_checkpoint
from d2seg.core.checkpoint.formats import FORMATS, Renamed, find_format
from d2seg.core.checkpoint.formats.detectron import is_detector, rename_detectron
from d2seg.core.runtime.checksum import hash_of

BACKGROUND_KEY = "background_rows"
"""Entry of a converted checkpoint: what its origin had for the background class."""

DETECTRON2, DETECTRON, CAFFE2 = "detectron2", "Detectron", "Caffe2 backbone"
TORCHVISION, BENCHMARK, RESNET = (one.name for one in (FORMATS[1], FORMATS[0], FORMATS[2]))

_OUR_BEGINNINGS = ("backbone.", "proposal_generator.", "roi_heads.", "stem.conv1.", "res2.")
_OUR_MARKS = "backbone.bottom_up, backbone.res2 or stem.conv1 (detectron2)"
_IGNORED = ("pixel_mean", "pixel_std")


@dataclass(frozen=True)
class Source:
    """A file that was read.

    Attributes:
        path: The file.
        format: Whose it is, such as ``torchvision detection``.
        count: How many tensors it holds.
        renamed: The tensors under detectron2's names.
        is_backbone: Whether it is a backbone alone.
        digest: SHA-256 of the file, hexadecimal.
        classes: The class names that the file holds; empty for none.
    """

    path: Path
    format: str
    count: int
    renamed: Renamed
    is_backbone: bool
    digest: str
    classes: tuple[str, ...] = ()


def read_source(address: str | Path) -> Source:
    """Read a file and give its tensors detectron2's names.

    Args:
        address: ``.pth``, ``.pkl`` or ``.safetensors``: a file, or an address as of
            ``MODEL.WEIGHTS``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, is of no known format, or has names that its format does
            not have.
    """
    path = Path(find_checkpoint(str(address)) if "://" in str(address) else address)
    if not path.is_file():
        raise FileNotFoundError(f"There is no weight file '{path}'.")
    checkpoint = read_checkpoint(str(path))
    weights = {_plain(name): _as_tensor(value) for name, value in checkpoint["model"].items()}
    if not weights:
        raise ValueError(f"'{path}' holds no tensors.")
    name, renamed, is_backbone = _rename(path, weights, checkpoint)
    if renamed.unknown:
        raise ValueError(
            f"'{path}' looks like a file of {name}, but {len(renamed.unknown)} of its "
            f"{len(weights)} names are of no layer that such a model has here: "
            f"{_listed(renamed.unknown)}. It is another architecture, which cannot be converted."
        )
    classes = _class_names(path, checkpoint)
    return Source(path, name, len(weights), renamed, is_backbone, hash_of(path), classes)


def _class_names(path: Path, checkpoint: Mapping[str, Any]) -> tuple[str, ...]:
    """Find the class names where a training or an export of the plugin leaves them."""
    saved = checkpoint.get("classes")
    names = saved.get("thing_classes") if isinstance(saved, Mapping) else None
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            names = _json((file.metadata() or {}).get("classes", "[]"))
    known = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return tuple(names or ()) if known else ()


def _json(text: str) -> Any:
    """Read JSON; None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _rename(
    path: Path, weights: dict[str, Tensor], checkpoint: Mapping[str, Any]
) -> tuple[str, Renamed, bool]:
    """Find the format: its name, the renamed tensors, and whether they are of a backbone alone."""
    if checkpoint.get("__author__") == "Caffe2":
        whole = is_detector(weights)
        return (DETECTRON if whole else CAFFE2), rename_detectron(weights), not whole
    known = find_format(weights)
    if known is not None:
        return known.name, known.rename(weights), not known.whole
    if not any(name.startswith(_OUR_BEGINNINGS) for name in weights):
        looked_for = "; ".join(f"{one.marks} ({one.name})" for one in FORMATS)
        raise ValueError(
            f"'{path}' is of no known format: its {len(weights)} names, such as "
            f"{_listed(sorted(weights))}, have none of {_OUR_MARKS}; {looked_for}; nor is it a "
            ".pkl of Detectron or Caffe2 (blobs such as res2_0_branch2a_w)."
        )
    is_backbone = not any(name.startswith(_OUR_BEGINNINGS[:3]) for name in weights)
    return DETECTRON2, _own(weights, checkpoint), is_backbone


def _own(weights: dict[str, Tensor], checkpoint: Mapping[str, Any]) -> Renamed:
    dropped = {name: "it follows from the config" for name in weights if _follows_from_config(name)}
    dropped |= {
        name: "it is the classifier of ImageNet"
        for name in weights
        if name.startswith(("fc1000.", "stem.fc."))
    }
    model = {name: tensor for name, tensor in weights.items() if name not in dropped}
    kept = checkpoint.get(BACKGROUND_KEY)
    rows = kept if isinstance(kept, Mapping) else {}
    background = {name: one for name, one in rows.items() if isinstance(one, Tensor)}
    return Renamed(model, {name: name for name in model}, background=background, dropped=dropped)


def _follows_from_config(name: str) -> bool:
    return name in _IGNORED or "anchor_generator.cell_anchors" in name


def _plain(name: object) -> str:
    return str(name).removeprefix("module.")


def _as_tensor(value: Any) -> Tensor:
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

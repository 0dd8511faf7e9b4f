"""Who can predict: each opened from files alone, so that it also can in a process of its own."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from d2seg import compat
from d2seg.benchmark.torchvision_model import torchvision_model, why_not_torchvision
from d2seg.config import load_config
from d2seg.core.runtime.untrusted.torch_files import load_torch
from d2seg.framework import FRAMEWORK, DefaultPredictor
from d2seg.predict import Predictor

PredictOne = Callable[[np.ndarray], int]
"""From an image (H, W, 3) uint8 BGR to the number of objects found; their masks are pixels of the
image by then."""

_OPTIONS = (("unfused", "FUSE", "False"), ("bfloat16", "PRECISION", "bfloat16"))
"""Name, key and value of what core is also measured with."""

TORCHVISION, DETECTRON2 = "torchvision", "detectron2"

NOT_INSTALLED = "it is not installed"
_DETECTRON2_PARTS = ("detectron2.config", "detectron2.engine")
_STEPS = "d2seg.benchmark.train"
_RUNTIMES = {
    ".onnx": ("d2seg.predict.graph_backend", "d2seg.export.onnx.file", "onnxruntime"),
    ".xml": ("d2seg.predict.graph_backend", "d2seg.export.openvino.file", "openvino"),
    ".pte": ("d2seg.export.executorch", "executorch.runtime"),
}
"""What runs files of a suffix; the others are run by torch."""


class Entry(NamedTuple):
    """A contestant that is not open yet.

    Attributes:
        name: Of the contestant.
        kind: ``framework`` (what serves d2seg), ``torchvision``, ``detectron2`` or ``file``; for
            a step of a training ``train`` (what serves d2seg) or ``train torchvision``.
        config_file: The config, with ``MODEL.WEIGHTS``; for a ``file`` the exported file.
        overrides: Keys and values in turn that go over the config.
    """

    name: str
    kind: str
    config_file: str
    overrides: tuple[str, ...] = ()


def list_entries(
    config_file: Path, files: Sequence[Path]
) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Name all who can predict with a model.

    Args:
        config_file: Of the model.
        files: What was exported from it.

    Returns:
        The contestants, the first to compare with; and who is left out, with the reason.
    """
    config = str(config_file)
    entries = [Entry(FRAMEWORK, "framework", config)]
    if FRAMEWORK == "core":
        entries += [
            Entry(f"core, {name}", "framework", config, (f"MODEL.INFERENCE.{key}", value))
            for name, key, value in _OPTIONS
        ]
    left_out = []
    if reason := why_not_torchvision(load_config(config)):
        left_out.append((TORCHVISION, reason))
    else:
        entries.insert(0, Entry(TORCHVISION, TORCHVISION, config))
    if FRAMEWORK == DETECTRON2:
        left_out.append(("core", "detectron2 serves; set D2SEG_FRAMEWORK=core to compare both"))
    elif not has_detectron2():
        left_out.append((DETECTRON2, NOT_INSTALLED))
    else:
        entries.append(Entry(DETECTRON2, DETECTRON2, config))
    return entries + [Entry(_name(path, files), "file", str(path)) for path in files], left_out


def has_detectron2() -> bool:
    """Tell whether the real one is installed."""
    return compat.find_real_detectron2() is not None


def import_runtime(entry: Entry) -> None:
    """Import what a contestant needs, so that opening it takes no time for that.

    What is missing is left to :func:`open_entry` to tell.
    """
    if entry.kind == DETECTRON2:
        names: tuple[str, ...] = _DETECTRON2_PARTS
    elif entry.kind == "file":
        names = _RUNTIMES.get(Path(entry.config_file).suffix.lower(), ())
    else:
        names = (_STEPS,) if entry.kind.startswith("train") else ()
    for name in names:
        with suppress(ImportError):
            import_module(name)


def open_entry(entry: Entry) -> PredictOne:
    """Load what a contestant needs.

    Raises:
        FileNotFoundError, ValueError, ImportError: Its file or its runtime is missing or bad.
    """
    return _OPEN[entry.kind](entry)


def _open_framework(entry: Entry) -> PredictOne:
    return _running(DefaultPredictor(load_config(entry.config_file, entry.overrides)))


def _open_detectron2(entry: Entry) -> PredictOne:
    """Take the real one, beside the embedded framework."""
    config, engine = map(import_module, _DETECTRON2_PARTS)
    cfg = config.get_cfg()
    cfg.set_new_allowed(True)  # the plugin's own keys are in the file
    cfg.merge_from_file(entry.config_file)
    return _running(engine.DefaultPredictor(cfg))


def _running(predictor: Callable[[np.ndarray], Any]) -> PredictOne:
    """Return what counts the objects of a predictor in detectron2's manner."""

    def run(image: np.ndarray) -> int:
        return len(predictor(image)["instances"].to("cpu"))

    return run


def _open_torchvision(entry: Entry) -> PredictOne:
    cfg = load_config(entry.config_file, entry.overrides)
    weights = load_torch(cfg.MODEL.WEIGHTS, mapped=True)
    model = torchvision_model(cfg, weights["model"]).to(cfg.MODEL.DEVICE)
    del weights

    @torch.inference_mode()
    def run(image: np.ndarray) -> int:
        rgb = torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1)))
        (found,) = model([rgb.to(cfg.MODEL.DEVICE).float() / 255])
        return len((found["masks"] >= 0.5).cpu())

    return run


def _open_file(entry: Entry) -> PredictOne:
    predictor = Predictor(entry.config_file)

    def run(image: np.ndarray) -> int:
        found = predictor(image, "BGR")
        return len(found.masks()) if found.has_masks else len(found)

    return run


def _open_step(entry: Entry) -> PredictOne:
    return import_module(_STEPS).open_step(entry)  # it imports this module


_OPEN: dict[str, Callable[[Entry], PredictOne]] = {
    "framework": _open_framework,
    TORCHVISION: _open_torchvision,
    DETECTRON2: _open_detectron2,
    "file": _open_file,
    "train": _open_step,
    f"train {TORCHVISION}": _open_step,
}


def _name(path: Path, files: Sequence[Path]) -> str:
    """Return the name of a file, with its folder where another has the same name."""
    same = [other for other in files if other.name == path.name]
    return path.name if len(same) == 1 else str(path)

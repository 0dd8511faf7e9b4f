"""An exported file, run in its own runtime; all that is known of it is its own description."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from d2seg.core.runtime.untrusted.programs import require_pure_program
from d2seg.export.description import ModelDescription, read_description
from d2seg.export.torchscript import RunFile, load_lite
from d2seg.predict.backend import logger, usable_device
from d2seg.predict.images import (
    Fit,
    NetworkInput,
    SizeHW,
    as_it_is,
    fit_shortest_edge,
    fit_shortest_edge_below,
)
from d2seg.predict.masks import ImageMasks
from d2seg.predict.prediction import Prediction, from_network


class FileBackend:
    """A file that holds its own description.

    Args:
        run: From (3, H, W) to the outputs, in the order of the description.
        description: What the file says of itself.
        device: Where it computes, by the name that its runtime has for it.
        fit: Computes the size that it wants an image in.
        limit_hw: Height and width of the largest image that it takes; None without such a limit.

    Attributes:
        description: What the file says of itself.
    """

    takes_batches = False

    def __init__(
        self,
        run: RunFile,
        description: ModelDescription,
        device: torch.device | str,
        fit: Fit,
        limit_hw: SizeHW | None = None,
    ) -> None:
        self._run = run
        self.description = description
        self.device = device
        self.class_names = tuple(description.class_names)
        self.input_order = description.input_order
        self.fit = fit
        self.limit_hw = limit_hw
        self.resizes_inside = description.resize_inside
        self.interpolate = description.interpolate
        self._schemas = {schema.name: schema for schema in description.outputs}

    def run(self, inputs: Sequence[NetworkInput]) -> list[Prediction]:
        """See :class:`d2seg.predict.backend.Backend`."""
        return [self._run_one(one) for one in inputs]

    def count_flops(self, one: NetworkInput) -> float | None:
        """See :class:`d2seg.predict.backend.Backend`."""
        return None

    def _run_one(self, one: NetworkInput) -> Prediction:
        values = self._run(one.tensor.to(self.device))
        outputs = {name: value.cpu() for name, value in zip(self._schemas, values, strict=True)}
        return self._prediction(outputs, one)

    def _prediction(self, outputs: Mapping[str, Tensor], one: NetworkInput) -> Prediction:
        """Wrap outputs by name: boxes, classes, scores, and masks and keypoints if there are any.

        Masks (N, H, W) or (N, 1, H, W) in the size of the input are told by their schema.
        """
        masks = outputs.get("masks")
        schema = self._schemas.get("masks")  # files with other names have none of that kind
        pasted = masks is not None and schema is not None and isinstance(schema.shape[-1], str)
        found = Prediction(
            boxes=outputs["boxes"],
            scores=outputs["scores"],
            classes=outputs["classes"],
            class_names=self.class_names,
            image_size=(one.tensor.shape[1], one.tensor.shape[2]),
            keypoints=outputs.get("keypoints"),
            mask_source=self._compress(masks, one.image_size) if pasted else None,
            mask_threshold=self.description.mask_threshold,
        )
        whole_pixels = self.description.whole_pixel_masks
        return from_network(found, one.image_size, None if pasted else masks, whole_pixels)

    def _compress(self, masks: Tensor | None, size_hw: tuple[int, int]) -> ImageMasks | None:
        """Keep masks (N, H, W) or (N, 1, H, W), in the size of the input, as run lengths."""
        if masks is None:
            return None
        pixels = masks[:, 0] if masks.dim() == 4 else masks
        return ImageMasks.from_pixels(pixels, size_hw, self.description.mask_threshold)


def load_file(path: Path, device: str) -> FileBackend:
    """Load an exported file, by its suffix.

    Args:
        path: A ``.ptl``, ``.ts``, ``.pte``, ``.onnx`` or ``.xml`` that d2seg exported.
        device: For ``.ts``, for ``.onnx`` (``cuda``), and for ``.xml`` (OpenVINO's names); the
            other runtimes compute on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has no description, cannot be read, or would read or write files.
        ImportError: The runtime is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No model file at '{path}'.")
    return LOADERS[path.suffix.lower()](path, device)


def _load_ptl(path: Path, device: str) -> FileBackend:
    description = read_description(path)
    run = _load(load_lite, path)
    return FileBackend(run, description, _cpu_only(path, device), fit_outside(description))


def _load_ts(path: Path, device: str) -> FileBackend:
    description = read_description(path)
    place = usable_device(device)

    def load(name: Path) -> RunFile:
        with warnings.catch_warnings():  # who has such a file cannot act on the deprecation
            warnings.simplefilter("ignore", DeprecationWarning)
            module: Any = torch.jit.load(name, map_location=place)
        return _without_gradients(module)

    return FileBackend(_load(load, path), description, place, fit_outside(description))


def _load_pte(path: Path, device: str) -> FileBackend:
    loaded = import_module("d2seg.export.executorch").load_pte(path)
    letterbox_size = import_module("d2seg.export.static.letterbox").letterbox_size

    def fit(size_hw: SizeHW) -> SizeHW:
        size: SizeHW = letterbox_size(size_hw, loaded.canvas_hw)
        return size

    canvas_hw = (loaded.canvas_hw[0], loaded.canvas_hw[1])
    place = _cpu_only(path, device)
    return FileBackend(loaded.run_placed, loaded.description, place, fit, canvas_hw)


def _load_onnx(path: Path, device: str) -> FileBackend:
    backend: FileBackend = import_module("d2seg.predict.graph_backend").load_onnx(path, device)
    return backend


def _load_xml(path: Path, device: str) -> FileBackend:
    backend: FileBackend = import_module("d2seg.predict.graph_backend").load_openvino(path, device)
    return backend


LOADERS: dict[str, Callable[[Path, str], FileBackend]] = {
    ".ptl": _load_ptl,
    ".ts": _load_ts,
    ".pte": _load_pte,
    ".onnx": _load_onnx,
    ".xml": _load_xml,
}
"""What loads a file of each suffix."""


def fit_outside(description: ModelDescription) -> Fit:
    """Return what resizes images for a file that takes any size; it may do so itself."""
    if description.resize_inside:
        return as_it_is
    fit = fit_shortest_edge_below if description.interpolate else fit_shortest_edge
    return fit(description.resize_short, description.resize_longest)


def _load(load: Callable[[Path], RunFile], path: Path) -> RunFile:
    require_pure_program(path)
    try:
        return load(path)
    except RuntimeError as error:
        first_line = str(error).strip().partition("\n")[0]
        raise ValueError(f"'{path}' cannot be loaded by this torch: {first_line}") from error


def _without_gradients(module: Any) -> RunFile:
    def run(image: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            outputs: tuple[Tensor, ...] = module(image)
        return outputs

    return run


def _cpu_only(path: Path, device: str) -> torch.device:
    if device != "cpu":
        logger.warning("'%s' runs on the CPU, not on '%s'.", path, device)
    return torch.device("cpu")

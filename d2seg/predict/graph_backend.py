"""A file that may take several images together: ONNX and OpenVINO."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from d2seg.predict.file_backend import FileBackend, fit_outside
from d2seg.predict.images import NetworkInput
from d2seg.predict.prediction import Prediction


class GraphBackend(FileBackend):
    """A file of :mod:`d2seg.export.batched`, whatever names its inputs and outputs have.

    Args:
        runner: The file in its runtime, a :class:`d2seg.export.batched.runner.FileRunner`.
    """

    def __init__(self, runner: Any) -> None:
        description = runner.description
        super().__init__(runner, description, runner.device, fit_outside(description))
        self._runner = runner
        self.takes_batches = runner.takes_batches

    def run(self, inputs: Sequence[NetworkInput]) -> list[Prediction]:
        """See :class:`d2seg.predict.backend.Backend`."""
        found = self._runner.run_batch([one.tensor for one in inputs])
        return [self._prediction(one, image) for one, image in zip(found, inputs, strict=True)]


def load_onnx(path: Path, device: str) -> GraphBackend:
    """Load an ``.onnx`` that d2seg exported; see :func:`d2seg.predict.file_backend.load_file`."""
    return GraphBackend(import_module("d2seg.export.onnx.file").load_onnx(path, device))


def load_openvino(path: Path, device: str) -> GraphBackend:
    """Load an ``.xml`` that d2seg exported; see :func:`d2seg.predict.file_backend.load_file`."""
    return GraphBackend(import_module("d2seg.export.openvino.file").load_openvino(path, device))

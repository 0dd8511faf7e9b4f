"""From a trained model to a verified OpenVINO file, by way of ONNX."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from d2seg.export.batched.runner import file_inputs
from d2seg.export.batched.verify import verify_runner
from d2seg.export.conversion import converting
from d2seg.export.deployable import DeployableRCNN, needs_flip
from d2seg.export.description import ModelDescription
from d2seg.export.onnx.export import lay_out
from d2seg.export.onnx.file import require_onnx, save_onnx
from d2seg.export.openvino.file import (
    load_openvino,
    openvino_files,
    require_openvino,
    save_openvino,
)
from d2seg.export.openvino.quantise import quantise
from d2seg.export.parity import ParityReport
from d2seg.export.tolerances import INT8_ARITHMETIC, TOLERANCES


def export_openvino(
    model: Any,
    deployable: DeployableRCNN,
    description: ModelDescription,
    path: Path,
    images: Sequence[Tensor],
    layout: str = "single",
    calibration: Sequence[Tensor] = (),
    keep_different: bool = False,
) -> ParityReport:
    """Write a model as an OpenVINO file, and compare the file with the model before it is kept.

    Args:
        model: The eager model, in eval mode.
        deployable: Made from it.
        description: Of a file that takes one image; inputs and outputs are those of the layout in
            the end. ``weights`` says how they are stored; ``int8`` computes in int8 too.
        path: The ``.xml`` to write; the ``.bin`` comes beside it.
        images: To compare on: each (3, H, W) float, raw pixels in the order of the model.
        layout: See :data:`d2seg.export.batched.layouts.LAYOUTS`.
        calibration: Likewise, to measure the ranges of activations on for int8.
        keep_different: Keep the file also where it finds other objects.

    Returns:
        How the file compares with the model.

    Raises:
        ValueError: The model cannot have this layout, or int8.
        ImportError: A package is not installed.
        ParityError: The file finds other objects than the model. Nothing is written then.
    """
    require_openvino("openvino", *(["nncf"] if description.weights == "int8" else []))
    require_onnx("onnx", "onnxscript")
    if description.weights == "int8" and deployable.keypoints is not None:
        raise ValueError(
            "weights 'int8' of format 'openvino' are not for models with keypoints, whose loop over"
            " the objects NNCF does not take; use 'half'."
        )
    module, description = lay_out(deployable, description, layout)
    converted = convert(module)
    flip = needs_flip(model, description.input_order)
    if description.weights == "int8":
        samples = [image.flip(0) if flip else image for image in calibration]
        converted = quantise(converted, [file_inputs(description, [one]) for one in samples])
    rounded = description.weights == "int8"
    tolerances = INT8_ARITHMETIC if rounded else TOLERANCES[description.weights]
    with openvino_files(path) as (graph, weights):
        save_openvino(converted, description, graph, weights)
        run = load_openvino(graph, weights=weights)
        return verify_runner(model, run, images, flip, tolerances, keep_different)


def convert(module: Any) -> Any:
    """Turn a layout into an ``openvino.Model``, whose tensors have the names of the layout."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save_onnx(module, path)
        with converting("OpenVINO"):
            return openvino.convert_model(path)

"""From a trained model to a verified ONNX file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from d2seg.core.runtime.files import replace_when_complete
from d2seg.export.batched.deployable import BatchedRCNN
from d2seg.export.batched.layouts import LAYOUTS, Layout
from d2seg.export.batched.verify import verify_runner
from d2seg.export.deployable import DeployableRCNN, needs_flip
from d2seg.export.description import ModelDescription
from d2seg.export.onnx.file import load_onnx, require_onnx, save_onnx
from d2seg.export.parity import ParityReport


def export_onnx(
    model: Any,
    deployable: DeployableRCNN,
    description: ModelDescription,
    path: Path,
    images: Sequence[Tensor],
    layout: str = "single",
    keep_different: bool = False,
) -> ParityReport:
    """Write a model as an ONNX file, and compare the file with the model before it is kept.

    Args:
        model: The eager model, in eval mode.
        deployable: Made from it.
        description: Of a file that takes one image; inputs and outputs are those of the layout in
            the end.
        path: The file to write.
        images: To compare on: each (3, H, W) float, raw pixels in the order of the model.
        layout: See :data:`d2seg.export.batched.layouts.LAYOUTS`.
        keep_different: Keep the file also where it finds other objects.

    Returns:
        How the file compares with the model.

    Raises:
        ValueError: The model cannot have this layout.
        ImportError: onnx, onnxscript or onnxruntime is not installed.
        ParityError: The file finds other objects than the model. Nothing is written then.
    """
    require_onnx("onnx", "onnxscript", "onnxruntime")
    module, description = lay_out(deployable, description, layout)
    with replace_when_complete(path) as temporary:
        save_onnx(module, temporary, description)
        flip = needs_flip(model, description.input_order)
        run = load_onnx(temporary)
        return verify_runner(model, run, images, flip, keep_different=keep_different)


def lay_out(
    deployable: DeployableRCNN, description: ModelDescription, layout: str
) -> tuple[Layout, ModelDescription]:
    """Build the module of a layout, and describe the file that it becomes."""
    module = LAYOUTS[layout](BatchedRCNN(deployable), description)
    described = replace(description, operators="onnx", inputs=module.inputs, outputs=module.outputs)
    return module, described

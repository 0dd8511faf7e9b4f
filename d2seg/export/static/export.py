"""From a trained model to a verified ``.pte`` file."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.runtime.files import replace_when_complete
from d2seg.export.deployable import DeployableRCNN, needs_flip
from d2seg.export.description import ModelDescription
from d2seg.export.executorch import load_pte, require_executorch, save_pte
from d2seg.export.parity import ParityReport, compare_file, require_passed
from d2seg.export.schema import TensorSchema
from d2seg.export.static.canvas import OnCanvas, default_canvas, fit_canvas
from d2seg.export.static.deployable import StaticRCNN
from d2seg.export.static.letterbox import place_on_canvas
from d2seg.export.static.quantise import quantise
from d2seg.export.static.runner import Letterboxed
from d2seg.export.static.settling import steps_taken
from d2seg.export.tolerances import INT8_ARITHMETIC, TOLERANCES

logger = logging.getLogger(__name__)


def export_pte(
    model: Any,
    deployable: DeployableRCNN,
    description: ModelDescription,
    path: Path,
    images: Sequence[Tensor],
    samples: Sequence[Tensor],
    canvas_hw: tuple[int, int] | None = None,
    keep_different: bool = False,
) -> ParityReport:
    """Write a model as an ExecuTorch file, and compare the file with the model before it is kept.

    Args:
        model: The eager model, in eval mode.
        deployable: Made from it.
        description: Of the file; inputs and outputs are filled in here. With weights ``int8`` the
            convolutions and linear layers compute in int8.
        path: The file to write.
        images: To compare on: each (3, H, W) float, raw pixels in the order of the model.
        samples: Likewise, to measure the ranges of activations on for int8.
        canvas_hw: Height and width of the file's input; by default a square with the edge that the
            model was tested with.
        keep_different: Keep the file also where it finds other objects.

    Returns:
        How the file compares with the model, on the images resized to fit it. The model pads them
        to the canvas, as in a batch.

    Raises:
        ValueError: The model cannot have fixed shapes, or the size does not fit it.
        ImportError: ExecuTorch is not installed.
        ParityError: The file finds other objects than the model. Nothing is written then.
    """
    require_executorch()
    size_hw = canvas_hw or default_canvas(description.resize_short, deployable.size_divisibility)
    static = StaticRCNN(deployable, size_hw)
    flip = needs_flip(model, description.input_order)
    placed = [fit_canvas(image, size_hw) for image in images]
    inputs = _file_inputs(placed, size_hw, flip)
    report_steps(static, inputs)
    description = describe_static(description, static, inputs[0])
    compare = partial(
        compare_file,
        OnCanvas(model, size_hw),
        images=placed,
        flip=flip,
        names=[output.name for output in description.outputs],
    )
    # Before minutes are spent on the file, and so that only rounding is left to explain that an
    # int8 one differs.
    require_passed(compare(run=Letterboxed(static, description)), keep_different)
    stored: nn.Module = static
    if description.weights == "int8":
        fitted = [fit_canvas(sample, size_hw) for sample in samples]
        stored = quantise(static, _file_inputs(fitted, size_hw, flip))
    with replace_when_complete(path) as temporary:
        save_pte(stored, inputs[0], temporary, description)
        tolerances = TOLERANCES["fp32"] if stored is static else INT8_ARITHMETIC
        report = compare(run=load_pte(temporary), tolerances=tolerances)
        return require_passed(report, keep_different)


def describe_static(
    description: ModelDescription, model: StaticRCNN, inputs: tuple[Tensor, ...]
) -> ModelDescription:
    """Describe a file with fixed shapes.

    Args:
        description: Of the dynamic model.
        model: The static one.
        inputs: What its ``forward`` takes.

    Returns:
        The description with the shapes of the file. No size to resize to is left in it: the runner
        takes images of any size and letterboxes them.
    """
    with torch.inference_mode():
        outputs = model(*inputs)
    placed = TensorSchema(
        "image_size", [2], "int64", "height and width of the image, at the top left of the input"
    )
    found = TensorSchema("count", [1], "int64", "detections; what follows them is padding")
    schemas = [
        replace(schema, shape=list(value.shape))
        for schema, value in zip([*description.outputs, found], outputs, strict=True)
    ]
    image = replace(description.inputs[0], shape=list(inputs[0].shape))
    return replace(
        description,
        operators="executorch",
        resize_short=0,
        resize_longest=0,
        interpolate=False,
        inputs=[image, placed],
        outputs=schemas,
    )


def report_steps(model: StaticRCNN, inputs: Sequence[tuple[Tensor, ...]]) -> None:
    """Warn if the suppression of overlaps would need more steps than the file has."""
    for name, (needed, steps) in steps_taken(model, inputs).items():
        if needed > steps:
            logger.warning(
                "%s needs %d steps on these images, but the file has %d: it may keep other boxes "
                "than the model.",
                name,
                needed,
                steps,
            )


def _file_inputs(
    placed: Sequence[Tensor], canvas_hw: tuple[int, int], flip: bool
) -> list[tuple[Tensor, Tensor]]:
    """Turn images that fit the canvas into what a file takes."""
    ordered = [image.flip(0) if flip else image for image in placed]
    return [(place_on_canvas(one, canvas_hw), torch.tensor(one.shape[1:])) for one in ordered]

"""The checks that a file passes before it is kept."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from d2seg.export.parity import ParityReport, require_passed
from d2seg.export.tolerances import TOLERANCES
from d2seg.export.torchscript import RunFile

SAME_ABSOLUTE, SAME_RELATIVE = 1e-3, 1e-4
"""By which the numbers of a file may differ from those of the module it was written from."""


def verify_file(
    compare: Callable[..., ParityReport],
    deployable: RunFile,
    stored: RunFile,
    run: RunFile,
    inputs: Sequence[Tensor],
    weights: str,
    keep_different: bool = False,
) -> ParityReport:
    """Compare a file with the model it came from.

    With float32 weights the file must find what the model finds, within float noise. Rounded
    weights change some detections, so three things are asked that together leave room for rounding
    and for nothing else:

    1. before rounding, the module finds what the model finds, within float noise;
    2. the file gives what the module with rounded weights gives, number for number;
    3. the file finds what the model finds, within :data:`d2seg.export.tolerances.TOLERANCES`.

    Args:
        compare: :func:`d2seg.export.parity.compare_file` with the model and the images; takes
            ``run`` and ``tolerances``.
        deployable: The module made from it, weights in float32.
        stored: The module that was written; ``deployable`` for ``fp32``.
        run: The file, loaded in its own runtime.
        inputs: The images as the file takes them, each (3, H, W) float, raw pixels.
        weights: How the file stores them, see :data:`d2seg.export.weights.WEIGHTS`.
        keep_different: Let 1 and 3 pass whatever is found.

    Returns:
        The comparison of the file with the model.

    Raises:
        ParityError: The module or the file finds other objects than the model.
        ValueError: The file gives other numbers than the module it was written from.
    """
    if weights != "fp32":
        require_passed(compare(run=deployable, tolerances=TOLERANCES["fp32"]), keep_different)
        for image in inputs:
            _require_same(stored, run, image)
    return require_passed(compare(run=run, tolerances=TOLERANCES[weights]), keep_different)


def _require_same(stored: RunFile, run: RunFile, image: Tensor) -> None:
    with torch.inference_mode():
        expected, found = stored(image), run(image)
    for first, second in zip(expected, found, strict=True):
        if first.shape != second.shape or not torch.allclose(
            first, second, rtol=SAME_RELATIVE, atol=SAME_ABSOLUTE
        ):
            raise ValueError(
                "The exported file does not compute what the module it was written from computes "
                f"on an image of {image.shape[1]}x{image.shape[2]} pixels, so it was not kept."
            )

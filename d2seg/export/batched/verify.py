"""Does a file find what the eager model finds, image by image and in batches?"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from d2seg.export.batched.runner import FileRunner
from d2seg.export.eager import Detections, detect_batch_eagerly
from d2seg.export.parity import ImageParity, ParityReport, compare_detections, require_passed
from d2seg.export.tolerances import TOLERANCES, Tolerances


def verify_runner(
    model: Any,
    run: FileRunner,
    images: Sequence[Tensor],
    flip: bool,
    tolerances: Tolerances = TOLERANCES["fp32"],
    keep_different: bool = False,
) -> ParityReport:
    """Compare a file with the eager model on single images, and if it takes them on mixed batches.

    Args:
        model: In eval mode.
        run: The file in its own runtime.
        images: Each (3, H, W) float, raw pixels in the order of the model; three or more.
        flip: Whether the file takes the channels in the reverse order.
        tolerances: What counts as the same.
        keep_different: Return the comparison also if the file finds other objects.

    Returns:
        The comparison.

    Raises:
        ParityError: The file finds other objects.
    """
    batches = [[image] for image in images]
    if run.takes_batches:
        batches += [list(images[:2]), [images[2], images[-1], images[0]]]
    rows = [row for batch in batches for row in compare_batch(model, run, batch, flip, tolerances)]
    return require_passed(ParityReport(rows), keep_different)


def compare_batch(
    model: Any,
    run: FileRunner,
    images: Sequence[Tensor],
    flip: bool = False,
    tolerances: Tolerances = TOLERANCES["fp32"],
) -> list[ImageParity]:
    """Run a file and the eager model on images together, and compare what they find in each."""
    outputs = run.run_batch([image.flip(0) if flip else image for image in images])
    found = [
        Detections(
            one["boxes"], one["classes"], one.get("masks"), one["scores"], one.get("keypoints")
        )
        for one in outputs
    ]
    full_masks = found[0].masks is not None and found[0].masks.dim() == 3
    eager = detect_batch_eagerly(model, images, full_masks=full_masks)
    return [
        compare_detections((image.shape[1], image.shape[2]), first, second, tolerances)
        for image, first, second in zip(images, eager, found, strict=True)
    ]

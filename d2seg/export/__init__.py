"""Trained models as files for other runtimes, each verified in its own runtime."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from d2seg.core.runtime.files import replace_when_complete
from d2seg.export.deployable import DeployableRCNN, needs_flip
from d2seg.export.description import (
    DESCRIPTION_NAME,
    ModelDescription,
    describe,
    read_description,
)
from d2seg.export.images import SHIPPED_IMAGES, predictor_resize, verification_images
from d2seg.export.limits import limit_config, limit_model
from d2seg.export.parity import ParityError, ParityReport, compare_file
from d2seg.export.torchscript import has_xnnpack, inspect_file, load_lite, save_torchscript
from d2seg.export.verify import verify_file
from d2seg.export.weights import check_weights, reduce_weights
from d2seg.framework import CfgNode

__all__ = [
    "FILE_NAMES",
    "DeployableRCNN",
    "ModelDescription",
    "ParityError",
    "ParityReport",
    "export_model",
    "inspect_file",
    "read_description",
]

FILE_NAMES = {"ptl": "mobile_optimized.ptl", "pte": "mobile.pte"}
"""The formats, and the usual name of a file of each."""


def export_model(
    model: Any,
    cfg: CfgNode,
    output_dir: str | os.PathLike[str],
    format: str = "ptl",
    aten_only: bool = True,
    input_order: str | None = None,
    images: Sequence[str | Path] | None = None,
    *,
    score_threshold: float | None = None,
    max_detections: int | None = None,
    resize_inside: bool = False,
    full_masks: bool = False,
    weights: str = "fp32",
    optimize: bool = False,
    canvas_hw: tuple[int, int] | None = None,
) -> ParityReport:
    """Write a trained model as a file, and compare the file with the model before it is kept.

    The file takes a float32 tensor (3, H, W) of raw values 0..255 and returns boxes, classes,
    masks, keypoints, scores and image_size, without those that the model does not have, see
    :class:`DeployableRCNN`; :mod:`d2seg.postprocess` goes on from there. It holds its own
    description, see :func:`read_description`.

    Args:
        model: Faster, Mask, Keypoint or Cascade R-CNN or RetinaNet on a ResNet, of either
            framework. Not modified.
        cfg: Its config.
        output_dir: Folder of the file, made if it does not exist.
        format: ``ptl``, written to ``mobile_optimized.ptl``; or ``pte``, written to ``mobile.pte``
            for ExecuTorch, which takes images of one size and returns a fixed number of detections
            with a count, see :class:`d2seg.export.static.deployable.StaticRCNN`.
        aten_only: Use no torchvision operator, which stock phone runtimes do not have.
        input_order: Order of the channels the file takes, ``RGB`` or ``BGR``; by default
            ``INPUT.FORMAT``.
        images: Files, folders or patterns to compare on; by default images of this package.
        score_threshold: Detections score above this; by default the model's.
        max_detections: At most this many detections; by default the model's.
        resize_inside: Resize images within the file as the model's predictor does, by
            ``INPUT.MIN_SIZE_TEST`` and ``INPUT.MAX_SIZE_TEST``. Boxes come in pixels of the image
            that was given.
        full_masks: Return masks (N, H, W) bool of the image instead of (N, 1, h, w) probabilities
            in the boxes: a byte for each pixel and object, 100 objects at 800 x 1333 are 107 MB.
        weights: How the file stores the weights of convolutions and linear layers: ``fp32``,
            ``half`` (half the size) or ``int8`` (a quarter).
        optimize: Prepack the weights for XNNPACK. The file then loads only where that is: on
            phones, and in torch before 2.13. A torch without it writes the portable file.
        canvas_hw: Height and width of the input of a ``pte``; by default a square with the edge
            ``INPUT.MIN_SIZE_TEST``.

    Returns:
        How the file compares with the model, image by image.

    Raises:
        ValueError: The format, the order, the weights or a limit is unknown or out of range,
            options do not go together, or the model is of another family.
        IsADirectoryError: There is a folder where the file would go.
        ParityError: The file finds other objects than the model. Nothing is written then.
    """
    check_options(format, weights, optimize)
    target = _target(output_dir, format)
    order = input_order or cfg.INPUT.FORMAT
    cfg = limit_config(cfg, score_threshold, max_detections)
    eager = limit_model(model, score_threshold, max_detections)
    deployable = DeployableRCNN(
        eager,
        aten_only=aten_only,
        input_order=order,
        resize=(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) if resize_inside else None,
        full_masks=full_masks,
    )
    tensors = verification_images(cfg, images, resized=not resize_inside)
    optimize = optimize and has_xnnpack()
    description = describe(
        cfg,
        format,
        aten_only,
        order,
        resize_inside=resize_inside,
        full_masks=full_masks,
        weights=weights,
        optimized_for="xnnpack" if optimize else "",
        model=eager,
    )
    if format == "pte":
        from d2seg.export.static.export import export_pte

        samples = verification_images(cfg, images or [SHIPPED_IMAGES])
        return export_pte(eager, deployable, description, target, tensors, samples, canvas_hw)
    stored = reduce_weights(deployable, weights)
    flip = needs_flip(eager, order)
    compare = partial(
        compare_file,
        eager,
        images=tensors,
        flip=flip,
        names=[output.name for output in description.outputs],
        prepare=predictor_resize(cfg) if resize_inside else None,
    )
    inputs = [image.flip(0) if flip else image for image in tensors]
    with replace_when_complete(target) as path:
        save_torchscript(stored, path, {DESCRIPTION_NAME: description.to_json()}, optimize)
        report = verify_file(compare, deployable, stored, load_lite(path), inputs, weights)
    return report


def check_options(format: str, weights: str, optimize: bool) -> None:
    """Refuse options of an export that do not exist or do not go together.

    Raises:
        ValueError: Says which.
    """
    if format not in FILE_NAMES:
        raise ValueError(f"format is '{format}'; use one of {', '.join(FILE_NAMES)}.")
    check_weights(weights)
    if format == "pte" and weights == "half":
        raise ValueError(
            "a file of format 'pte' stores its weights as 'fp32' or 'int8', not 'half'."
        )
    if optimize and format != "ptl":
        raise ValueError(f"optimize prepacks a file of format 'ptl', not of '{format}'.")
    if optimize and weights != "fp32":
        raise ValueError(
            f"optimize prepacks float32 weights, but weights is '{weights}'; choose one of the two."
        )


def _target(output_dir: str | os.PathLike[str], format: str) -> Path:
    target = Path(output_dir) / FILE_NAMES[format]
    if target.is_dir():
        raise IsADirectoryError(
            f"'{target}' is a folder, but the exported file goes there; name another output folder."
        )
    return target

"""Trained models as files for other runtimes, each verified in its own runtime."""

import copy
import os
from collections.abc import Sequence
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
from d2seg.export.images import verification_images
from d2seg.export.parity import ParityError, ParityReport, compare_file
from d2seg.export.torchscript import inspect_file, load_lite, save_torchscript
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

FILE_NAMES = {"ptl": "mobile_optimized.ptl"}
"""The formats, and the usual name of a file of each."""


def export_model(
    model: Any,
    cfg: CfgNode,
    output_dir: str | os.PathLike[str],
    format: str = "ptl",
    aten_only: bool = True,
    input_order: str | None = None,
    images: Sequence[str | Path] | None = None,
) -> ParityReport:
    """Write a trained model as a file, and compare the file with the model before it is kept.

    The file takes a float32 tensor (3, H, W) of raw values 0..255 and returns boxes, classes,
    masks, scores and image_size, see :class:`DeployableRCNN`; :mod:`d2seg.postprocess` goes on from
    there. It holds its own description, see :func:`read_description`.

    Args:
        model: A Mask R-CNN with a ResNet-FPN, of either framework. Not modified.
        cfg: Its config.
        output_dir: Folder of the file, made if it does not exist.
        format: ``ptl``, written to ``mobile_optimized.ptl``.
        aten_only: Use no torchvision operator, which stock phone runtimes do not have.
        input_order: Order of the channels the file takes, ``RGB`` or ``BGR``; by default
            ``INPUT.FORMAT``.
        images: Files, folders or patterns to compare on; by default images of this package.

    Returns:
        How the file compares with the model, image by image.

    Raises:
        ValueError: The format or the order is unknown, or the model is of another family.
        ParityError: The file finds other objects than the model. Nothing is written then.
    """
    if format not in FILE_NAMES:
        raise ValueError(f"format is '{format}'; use one of {', '.join(FILE_NAMES)}.")
    order = input_order or cfg.INPUT.FORMAT
    eager = copy.deepcopy(model).eval().cpu()
    deployable = DeployableRCNN(eager, aten_only=aten_only, input_order=order)
    tensors = verification_images(cfg, images)
    description = describe(cfg, format, aten_only, order)
    with replace_when_complete(Path(output_dir) / FILE_NAMES[format]) as path:
        save_torchscript(deployable, path, {DESCRIPTION_NAME: description.to_json()})
        report = compare_file(eager, load_lite(path), tensors, flip=needs_flip(eager, order))
        if not report.passed:
            raise ParityError(report)
    return report

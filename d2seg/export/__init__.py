"""Trained models as files for other runtimes, each verified in its own runtime."""

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from d2seg.core.runtime.files import remove_unfinished, replace_when_complete
from d2seg.export.conversion import ConversionError
from d2seg.export.deployable import DeployableRCNN, needs_flip
from d2seg.export.description import (
    DESCRIPTION_NAME,
    ModelDescription,
    describe,
    read_description,
)
from d2seg.export.images import (
    SHIPPED_IMAGES,
    load_images,
    predictor_resize,
    verification_images,
)
from d2seg.export.limits import limit_config, limit_model
from d2seg.export.options import (
    FILE_NAMES,
    check_calibration,
    check_layout,
    check_options,
)
from d2seg.export.parity import ParityError, ParityReport, compare_file
from d2seg.export.torchscript import has_xnnpack, inspect_file, load_lite, save_torchscript
from d2seg.export.verify import verify_file
from d2seg.export.weights import reduce_weights
from d2seg.framework import CfgNode

__all__ = [
    "FILE_NAMES",
    "ConversionError",
    "DeployableRCNN",
    "ModelDescription",
    "ParityError",
    "ParityReport",
    "export_model",
    "inspect_file",
    "read_description",
]


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
    layout: str = "single",
    calibration: Sequence[str | Path] | None = None,
    keep_different: bool = False,
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
            with a count, see :class:`d2seg.export.static.deployable.StaticRCNN`; or ``onnx``,
            written to ``model.onnx``; or ``openvino``, written to ``model.xml`` and ``model.bin``.
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
        layout: Of an ``onnx`` or ``openvino``: ``single`` takes one image and has the outputs
            above; ``batched`` takes several and returns lists of one length, filled up with zeros,
            see :func:`d2seg.postprocess.slice_batch`; ``segmentoly`` has the names of that toolbox.
        calibration: Files, folders or patterns of images such as the file will see; an ``openvino``
            or ``pte`` with ``int8`` computes in int8 too, by the ranges of numbers that occur on
            these. A ``pte`` takes ``images`` without them.
        keep_different: Keep the file also where it finds other objects than the model, to judge it
            by its precision (``d2seg evaluate``) or to measure its speed.

    Returns:
        How the file compares with the model, image by image.

    Raises:
        ValueError: The format, the order, the weights or a limit is unknown or out of range,
            options do not go together, or the model is of another family.
        IsADirectoryError: There is a folder where the file would go.
        ConversionError: The model cannot be converted; its cause is the converter's own error.
        ParityError: The file finds other objects than the model. Nothing is written then, unless
            ``keep_different`` asks for it.
    """
    check_options(format, weights, optimize, aten_only)
    check_layout(format, layout, resize_inside, full_masks, canvas_hw)
    check_calibration(format, weights, calibration)
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
        interpolate=cfg.INPUT.get("RESIZE_TEST") == "interpolate",
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

        samples = (
            load_images(cfg, calibration)
            if calibration
            else verification_images(cfg, images or [SHIPPED_IMAGES])
        )
        return export_pte(
            eager, deployable, description, target, tensors, samples, canvas_hw, keep_different
        )
    if format == "onnx":
        from d2seg.export.onnx.export import export_onnx

        return export_onnx(eager, deployable, description, target, tensors, layout, keep_different)
    if format == "openvino":
        from d2seg.export.openvino.export import export_openvino

        samples = load_images(cfg, calibration) if calibration else []
        return export_openvino(
            eager, deployable, description, target, tensors, layout, samples, keep_different
        )
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
        run = load_lite(path)
        report = verify_file(compare, deployable, stored, run, inputs, weights, keep_different)
    return report


def _target(output_dir: str | os.PathLike[str], format: str) -> Path:
    target = Path(output_dir) / FILE_NAMES[format]
    if target.is_dir():
        raise IsADirectoryError(
            f"'{target}' is a folder, but the exported file goes there; name another output folder."
        )
    # What an export left that was killed; the .bin is OpenVINO's.
    remove_unfinished(target.parent, rf"{re.escape(target.stem)}({target.suffix}|\.bin)")
    return target

"""The formats of files, and which options go together."""

from collections.abc import Sequence
from pathlib import Path

from d2seg.export.weights import check_weights

FILE_NAMES = {
    "ptl": "mobile_optimized.ptl",
    "pte": "mobile.pte",
    "onnx": "model.onnx",
    "openvino": "model.xml",
}
"""The formats, and the usual name of a file of each."""

GRAPH_FORMATS = ("onnx", "openvino")
"""Formats whose files may take batches."""

LAYOUT_NAMES = ("single", "batched", "segmentoly")
"""Inputs and outputs that their files may have, see :mod:`d2seg.export.batched.layouts`."""


def check_options(format: str, weights: str, optimize: bool, aten_only: bool = True) -> None:
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
    if format == "onnx" and weights != "fp32":
        raise ValueError(f"a file of format 'onnx' stores its weights as 'fp32', not '{weights}'.")
    if not aten_only and format != "ptl":
        raise ValueError(
            "torchvision's operators (--ops torchvision) are for a file of format 'ptl'; "
            f"'{format}' has no use for them."
        )
    if optimize and format != "ptl":
        raise ValueError(
            f"optimize (--optimize) prepacks a file of format 'ptl', not of '{format}'."
        )
    if optimize and weights != "fp32":
        raise ValueError(
            f"optimize (--optimize) prepacks float32 weights, but weights is '{weights}'; choose "
            "one of the two."
        )


def check_layout(
    format: str,
    layout: str,
    resize_inside: bool = False,
    full_masks: bool = False,
    canvas_hw: tuple[int, int] | None = None,
) -> None:
    """Refuse inputs and outputs that a format does not have.

    Raises:
        ValueError: Says which.
    """
    if layout not in LAYOUT_NAMES:
        raise ValueError(f"layout is '{layout}'; use one of {', '.join(LAYOUT_NAMES)}.")
    if canvas_hw is not None and format != "pte":
        raise ValueError(
            "canvas_hw (--input-size) is for files of format 'pte'; a file of format "
            f"'{format}' takes any size: leave it out."
        )
    if format not in GRAPH_FORMATS:
        if layout != "single":
            raise ValueError(
                f"layout (--batched, --names) is '{layout}', but a file of format '{format}' takes "
                f"one image; use {' or '.join(GRAPH_FORMATS)}."
            )
        return
    if resize_inside:
        raise ValueError(
            "resize_inside (--resize-inside) is for files of format 'ptl'; a file of format "
            f"'{format}' takes images that are resized."
        )
    if full_masks and layout == "segmentoly":
        raise ValueError(
            "full_masks (--full-masks) gives masks of the image, but layout 'segmentoly' has "
            "raw_masks of the boxes; choose one of the two."
        )


def check_calibration(format: str, weights: str, calibration: Sequence[str | Path] | None) -> None:
    """Refuse int8 for OpenVINO without images to measure on, and such images where none are used.

    Raises:
        ValueError: Says what to give.
    """
    used = weights == "int8" and format in ("openvino", "pte")
    if used and format == "openvino" and not calibration:
        raise ValueError(
            "weights 'int8' of format 'openvino' computes in int8 and needs calibration images: "
            "give a folder of some hundred that are like those the file will see (--calibration)."
        )
    if calibration and not used:
        raise ValueError(
            "calibration (--calibration) is for format 'openvino' or 'pte' with weights 'int8', "
            f"not for '{format}' with '{weights}'."
        )

"""``d2seg export``: write a model as a file for another runtime and verify it."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2seg.cli.arguments import add_config_file, add_overrides, output_folder

if TYPE_CHECKING:
    from d2seg.export import ModelDescription

EPILOG = """\
what comes:
  --format ptl writes DIR/mobile_optimized.ptl for torch.jit.load and for the lite interpreter of
  phones. One float32 tensor (3, H, W) of raw values 0..255 goes in, of any height and width. Out
  comes a tuple: boxes (N, 4) XYXY pixels, classes (N,), masks (N, 1, 28, 28) probabilities in the
  boxes, keypoints (N, K, 3) x, y, score, scores (N,), image_size (2,); without masks or keypoints
  where the model has none. d2seg.postprocess pastes the masks into the image. Class names, channel
  order, outputs and the config are in the file: d2seg.export.read_description.

  --format pte writes DIR/mobile.pte for ExecuTorch with XNNPACK, for images of one size. Two
  tensors go in: the image (3, H, W) in the top left of a canvas of --input-size, and the height
  and width (2,) int64 that it takes there. Out come lists of fixed length, and last count (1,): so
  many of the detections exist. d2seg.export.executorch.load_pte does the resizing and the cutting.
  --weights int8 computes in int8 too, by the ranges of numbers on images of --calibration.
  Needs pip install "d2seg[executorch]" and takes minutes.

  --format onnx writes DIR/model.onnx, opset 18, standard operators only. Names and shapes are those
  of a ptl. With --batched the images (B, 3, H, W), padded at the bottom and the right, and their
  sizes (B, 2) go in; detections_per_batch (B, 1), boxes (B, K, 4), labels (B, K), scores (B, K)
  and masks (B, K, 1, 28, 28) come out, K as of --max-detections, zeros after the last detection;
  d2seg.postprocess.slice_batch cuts them. --names segmentoly has the inputs and outputs of that
  toolbox. Needs pip install "d2seg[onnx]".

  --format openvino writes DIR/model.xml and DIR/model.bin, with the same options. --weights half
  stores float16; int8 computes in int8 too and needs --calibration. Needs
  pip install "d2seg[openvino]".

  Faster, Mask, Keypoint and Cascade R-CNN on FPN, C4 and DC5, and RetinaNet can be exported.

  The file is loaded again in its own runtime and compared with the model; one that finds other
  objects is not kept, and the exit code is 1. Rounded weights (half, int8) are granted more, as is
  printed below the comparison: of int8 a quarter of the objects of an image may differ, if none of
  them is sure. d2seg evaluate says what rounding costs in precision; --keep-different keeps a file
  that differs, to be judged by that.

example:
  d2seg export --config-file config.yaml --format ptl --output mobile MODEL.WEIGHTS model_final.pth
"""


RUNTIMES = {
    "ptl": "the lite interpreter",
    "pte": "ExecuTorch",
    "onnx": "onnxruntime",
    "openvino": "OpenVINO",
}
"""In what a file of each format was verified."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``d2seg export``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add_config_file(parser)
    parser.add_argument("--format", default="ptl", choices=list(RUNTIMES), help="kind of file")
    parser.add_argument(
        "--output", required=True, type=output_folder, metavar="DIR", help="output folder"
    )
    parser.add_argument(
        "--ops",
        choices=["aten", "torchvision"],
        help="whose operators the file needs: aten runs in stock phone runtimes "
        "(default: by EXPORT.ATEN_ONLY, aten)",
    )
    parser.add_argument(
        "--input-order",
        choices=["RGB", "BGR"],
        help="order of the input's channels (default: EXPORT.INPUT_ORDER, or INPUT.FORMAT)",
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        metavar="X",
        help="keep detections that score above this (default: EXPORT.SCORE_THRESHOLD, or the "
        "model's)",
    )
    parser.add_argument(
        "--max-detections",
        type=int,
        metavar="N",
        help="keep at most N detections (default: EXPORT.MAX_DETECTIONS, or the model's)",
    )
    parser.add_argument(
        "--resize-inside",
        action="store_true",
        help="resize images in the file by INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST, boxes in pixels "
        "of the image given (default: EXPORT.RESIZE_INSIDE, no)",
    )
    parser.add_argument(
        "--full-masks",
        action="store_true",
        help="return masks (N, H, W) bool of the image, a byte for each pixel and object; 100 at "
        "800 x 1333 take 107 MB (default: EXPORT.FULL_MASKS, no)",
    )
    parser.add_argument(
        "--weights",
        choices=["fp32", "half", "int8"],
        help="how the file stores weights: half and int8 make it half and a quarter as large, and "
        "are turned into floats where they are used (default: EXPORT.WEIGHTS, fp32)",
    )
    parser.add_argument(
        "--optimize",
        action=argparse.BooleanOptionalAction,
        help="prepack the weights for XNNPACK; the file then loads only where XNNPACK is: on "
        "phones, and in torch before 2.13 (default: EXPORT.OPTIMIZE, no)",
    )
    parser.add_argument(
        "--input-size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="of a pte: height and width that images are letterboxed to (default: a square with "
        "the edge INPUT.MIN_SIZE_TEST)",
    )
    parser.add_argument(
        "--batched",
        action="store_true",
        help="of an onnx or openvino: take several images of different sizes together",
    )
    parser.add_argument(
        "--names",
        choices=["d2seg", "segmentoly"],
        default="d2seg",
        help="of an onnx or openvino: whose names and shapes inputs and outputs have "
        "(default: d2seg)",
    )
    parser.add_argument(
        "--calibration",
        nargs="+",
        metavar="PATH",
        help="of an openvino or pte with --weights int8: images, folders, glob patterns to measure "
        "the ranges of numbers on (a pte takes --images without)",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="PATH",
        help="images, folders, glob patterns to compare on (default: images of this package)",
    )
    parser.add_argument(
        "--keep-different",
        action="store_true",
        help="keep the file also if it finds other objects than the model, and say so",
    )
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Export, verify and report; return the exit code."""
    from d2seg.config import load_config
    from d2seg.export import (
        FILE_NAMES,
        ParityError,
        export_model,
        read_description,
    )
    from d2seg.framework import DetectionCheckpointer, build_model

    cfg = load_config(args.config_file, args.opts)
    model = build_model(cfg)
    if not cfg.MODEL.WEIGHTS:
        print("MODEL.WEIGHTS is empty: exporting random weights.", file=sys.stderr)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    options = read_options(args, cfg)
    try:
        report = export_model(model, cfg, args.output, args.format, images=args.images, **options)
    except ParityError as error:
        print(error.report.table())
        raise
    path = args.output / FILE_NAMES[args.format]
    description = read_description(path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {_operators(path, description)}")
    print(
        f"input: {description.input_order}, raw values 0..255; weights: {description.weights}, "
        f"{_preparation(description, options['optimize'])}"
    )
    print(f"output: {', '.join(output.name for output in description.outputs)}")
    print(
        f"the file in {RUNTIMES[args.format]} against the model, largest differences of an image's "
        "pairs, matched or not:"
    )
    print(report.table())
    if not report.passed:
        print(
            f"{report.explain()}; it was kept because of --keep-different. d2seg evaluate says "
            "what that costs in precision.",
            file=sys.stderr,
        )
    if report.found_nothing:
        print(
            "Nothing was found in any image, so the comparison says little; give --images with "
            "objects, or lower MODEL.ROI_HEADS.SCORE_THRESH_TEST.",
            file=sys.stderr,
        )
    return 0


def read_options(args: argparse.Namespace, cfg: Any) -> dict[str, Any]:
    """Take the options of an export from the command line, and where it has none from the config.

    Args:
        args: Parsed options of ``d2seg export``.
        cfg: Its ``EXPORT`` section is read.

    Returns:
        Keyword arguments of :func:`d2seg.export.export_model`.
    """
    keys = cfg.EXPORT
    score, count = args.score_threshold, args.max_detections
    if score is None and keys.SCORE_THRESHOLD >= 0:
        score = keys.SCORE_THRESHOLD
    if count is None and keys.MAX_DETECTIONS > 0:
        count = keys.MAX_DETECTIONS
    return {
        "aten_only": keys.ATEN_ONLY if args.ops is None else args.ops == "aten",
        "input_order": args.input_order or keys.INPUT_ORDER,
        "score_threshold": score,
        "max_detections": count,
        "resize_inside": args.resize_inside or keys.RESIZE_INSIDE,
        "full_masks": args.full_masks or keys.FULL_MASKS,
        "weights": args.weights or keys.WEIGHTS,
        "canvas_hw": tuple(args.input_size) if args.input_size else None,
        "optimize": keys.OPTIMIZE if args.optimize is None else args.optimize,
        "layout": _layout(args),
        "calibration": args.calibration,
        "keep_different": args.keep_different,
    }


def _layout(args: argparse.Namespace) -> str:
    """Choose the inputs and outputs of the file.

    Raises:
        ValueError: Options do not go together.
    """
    if args.ops and args.format not in ("ptl", "pte"):
        raise ValueError(
            f"--ops is for --format ptl; a file of format {args.format} has that format's own "
            "operators."
        )
    if args.batched and args.names == "segmentoly":
        raise ValueError("--names segmentoly has one image (im_data); leave --batched out.")
    return "batched" if args.batched else {"d2seg": "single"}.get(args.names, args.names)


def _operators(path: Path, description: "ModelDescription") -> str:
    """Say what a runtime needs to run a file."""
    if description.format == "pte":
        size = " x ".join(map(str, description.inputs[0].shape[1:]))
        return f"images letterboxed to {size}, at most {description.max_detections} detections"
    if description.format == "openvino":
        weights = path.with_suffix(".bin")
        return f"with {weights.name} of {weights.stat().st_size / 1e6:.1f} MB"
    if description.format == "onnx":
        from d2seg.export.onnx.file import count_operators, load_proto

        return f"{len(count_operators(load_proto(path)))} kinds of standard operators, opset 18"
    from d2seg.export import inspect_file

    facts = inspect_file(path)
    return (
        f"{len(facts.operators)} operators ({description.operators}), "
        f"bytecode version {facts.bytecode_version}"
    )


def _preparation(description: "ModelDescription", wanted: bool) -> str:
    if description.optimized_for:
        return "prepacked for XNNPACK: does not load into torch 2.13 or newer"
    if description.format == "pte":
        return "run by XNNPACK"
    if description.format in ("onnx", "openvino"):
        return "for any processor"
    if wanted:
        return "not optimised for a processor, because this torch has no XNNPACK"
    return "not optimised for a processor"

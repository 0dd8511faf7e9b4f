"""``d2seg export``: write a model as a file for another runtime and verify it."""

import argparse
import sys
from pathlib import Path
from typing import Any

from d2seg.cli.arguments import add_config_file, add_overrides

EPILOG = """\
what comes:
  --format ptl writes DIR/mobile_optimized.ptl for torch.jit.load and for the lite interpreter of
  phones. One float32 tensor (3, H, W) of raw values 0..255 goes in, of any height and width. Out
  comes a tuple: boxes (N, 4) XYXY pixels, classes (N,), masks (N, 1, 28, 28) probabilities in the
  boxes, keypoints (N, K, 3) x, y, score, scores (N,), image_size (2,); without masks or keypoints
  where the model has none. d2seg.postprocess pastes the masks into the image. Class names, channel
  order, outputs and the config are in the file: d2seg.export.read_description.

  Faster, Mask, Keypoint and Cascade R-CNN on FPN, C4 and DC5, and RetinaNet can be exported.

  The file is loaded again in its own runtime and compared with the model; one that finds other
  objects is not kept, and the exit code is 1.

example:
  d2seg export --config-file config.yaml --format ptl --output mobile MODEL.WEIGHTS model_final.pth
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``d2seg export``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add_config_file(parser)
    parser.add_argument("--format", default="ptl", choices=["ptl"], help="kind of file")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="output folder")
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
        "--images",
        nargs="+",
        metavar="PATH",
        help="images, folders, glob patterns to compare on (default: images of this package)",
    )
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Export, verify and report; return the exit code."""
    from d2seg.config import load_config
    from d2seg.export import (
        FILE_NAMES,
        ParityError,
        export_model,
        inspect_file,
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
    facts, description = inspect_file(path), read_description(path)
    print(
        f"{path}: {facts.megabytes:.1f} MB, {len(facts.operators)} operators "
        f"({description.operators}), bytecode version {facts.bytecode_version}"
    )
    print(f"input: {description.input_order}, raw values 0..255; not optimised for a processor")
    print(f"output: {', '.join(output.name for output in description.outputs)}")
    print("the file in the lite interpreter against the model, largest differences of each image:")
    print(report.table())
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
    }

"""``d2seg features``: write intermediate features of images to files."""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from d2seg.cli.arguments import add_config_file, add_overrides, output_folder

if TYPE_CHECKING:
    from d2seg.features.run import Outcome

EPILOG = """\
stages (a model has those that it has parts for; an unknown name lists them):
  backbone         all feature maps; one alone by backbone.p3, p3 or res4
  sem_seg          logits of semantic classes
  proposals        proposed boxes and their objectness
  instances        detected boxes, scores, classes; they come along with all that follow:
  box_pooler box_head class_logits class_probs
  mask_pooler mask_head mask_logits keypoint_pooler keypoint_head keypoint_logits
                   row i belongs to detection i, or with --boxes to annotation i
                   (annotations of crowds are left out)
  roi_heads.box_head.fc1
                   the output of any module by its path, its input with :input

formats:
  safetensors      one file for each image, with a JSON description beside it
  zarr             one store, features.zarr, with a group for each image
  parquet          tables with a row for each object, for pandas and DuckDB

examples:
  d2seg features --config-file config.yaml --input photos/ 'more/*.png' \\
      --stages backbone.p3 mask_pooler --output features MODEL.WEIGHTS model_final.pth
  d2seg features --config-file config.yaml --input instances_val.json --boxes \\
      --stages box_head --format parquet --output features

d2seg.features.load reads all of them back.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``d2seg features``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add_config_file(parser)
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        metavar="PATH",
        help="images, folders, glob patterns, videos, COCO annotations (.json)",
    )
    parser.add_argument(
        "--stages",
        nargs="+",
        metavar="STAGE",
        help="what to write, see below (default: FEATURES.STAGES of the config)",
    )
    parser.add_argument(
        "--output", required=True, type=output_folder, metavar="DIR", help="output folder"
    )
    parser.add_argument(
        "--format",
        metavar="FORMAT",
        help="safetensors, zarr or parquet (default: FEATURES.FORMAT of the config)",
    )
    parser.add_argument("--half", action="store_true", help="store float16 (FEATURES.HALF)")
    parser.add_argument(
        "--boxes", action="store_true", help="features of the annotated boxes, not of detections"
    )
    parser.add_argument(
        "--image-root", metavar="DIR", help="folder of the images of COCO annotations"
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="take every n-th frame of videos"
    )
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="images that run together (1)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="skip images whose features are complete"
    )
    parser.add_argument(
        "--preview",
        action="store_true",
        help="write a page of heat maps and nearest neighbours, _preview/index.html",
    )
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Extract and write; return the exit code."""
    from d2seg.cli.progress import advancing
    from d2seg.config import load_config
    from d2seg.features import FeatureExtractor, FeatureWriter, open_store
    from d2seg.features.preview import Preview
    from d2seg.features.run import check_resumable, extract_all
    from d2seg.framework import DetectionCheckpointer, build_model
    from d2seg.inputs import find_sources

    if args.batch_size < 1:
        raise ValueError(f"--batch-size must be 1 or more, got {args.batch_size}.")
    sources = find_sources(
        args.input, image_root=args.image_root, with_boxes=args.boxes, every=args.every
    )
    cfg = load_config(args.config_file, args.opts)
    model = build_model(cfg)
    keys = cfg.FEATURES
    extractor = FeatureExtractor(model, args.stages or keys.STAGES, keys.BOX_REGION)
    if not cfg.MODEL.WEIGHTS:
        print("MODEL.WEIGHTS is empty: these are the features of random weights.", file=sys.stderr)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    writer = FeatureWriter(extractor, cfg, args.config_file, args.opts)

    start = time.perf_counter()
    with open_store(args.output, args.format or keys.FORMAT, half=args.half or keys.HALF) as store:
        store.check(extractor.describe())
        if args.resume:
            check_resumable(writer, store, args.boxes)
        # A folder that pandas passes over when it reads the tables beside it.
        preview = Preview(args.output / "_preview") if args.preview else None
        with advancing(sources.total, "features") as advance:
            outcome = extract_all(
                writer,
                sources,
                store,
                batch_size=args.batch_size,
                skip=store.complete() if args.resume else frozenset(),
                preview=preview,
                advance=advance,
            )
    _report(outcome, time.perf_counter() - start, extractor.stages)
    annotated = [source.annotated for source in sources] if args.boxes else []
    crowds = sum(boxes.crowds for boxes in annotated if boxes is not None)
    if crowds:
        print(f"{crowds} annotation(s) of crowds were left out")
    print(store.summary)
    if preview is not None:
        print(f"{preview.write()}: heat maps and nearest neighbours")
    return 1 if outcome.failures else 0


def _report(outcome: "Outcome", seconds: float, stages: Sequence[str]) -> None:
    """Say how many images were dealt with how fast, and on stderr which were not."""
    if outcome.written or not outcome.skipped:
        rate = f"{outcome.written / seconds:.2f} images/s"
        print(f"{outcome.written} image(s) in {seconds:.1f} s, {rate}: {', '.join(stages)}")
    if outcome.skipped:
        print(f"{outcome.skipped} image(s) had their features already")
    for name, reason in outcome.failures:
        print(f"{name}: {reason}", file=sys.stderr)
    if outcome.failures:
        print(f"d2seg: {len(outcome.failures)} image(s) were left out", file=sys.stderr)

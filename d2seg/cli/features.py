"""``d2seg features``: write intermediate features of images to files."""

import argparse
import sys
import time
from pathlib import Path

from d2seg.cli.arguments import add_config_file, add_overrides

EPILOG = """\
stages:
  backbone       all feature maps of the backbone; backbone.p3 is one of them
  proposals      proposed boxes and their objectness logits
  instances      detected boxes, scores, classes
  box_pooler     features pooled for each detection, and the box head's output for them:
  box_head         row i belongs to detection i; instances come along
  mask_pooler    the same for the mask head, and the mask probabilities
  mask_head

example:
  d2seg features --config-file config.yaml --input photos/ 'more/*.png' \\
      --stages backbone.p3 mask_pooler --output features MODEL.WEIGHTS model_final.pth

Each image gives NAME.safetensors and NAME.json (what is in it); d2seg.features.load reads it back.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``d2seg features``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add_config_file(parser)
    parser.add_argument(
        "--input", required=True, nargs="+", metavar="PATH", help="images, folders, glob patterns"
    )
    parser.add_argument(
        "--stages",
        nargs="+",
        metavar="STAGE",
        help="what to write, see below (default: FEATURES.STAGES of the config)",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="output folder")
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Extract and write; return the exit code."""
    from d2seg.cli.progress import track
    from d2seg.config import load_config
    from d2seg.features import FeatureExtractor, FeatureWriter
    from d2seg.framework import DetectionCheckpointer, build_model
    from d2seg.images import find_images, unique_stems

    paths = find_images(args.input)
    cfg = load_config(args.config_file, args.opts)
    model = build_model(cfg)
    extractor = FeatureExtractor(model, args.stages or cfg.FEATURES.STAGES)
    if not cfg.MODEL.WEIGHTS:
        print("MODEL.WEIGHTS is empty: these are the features of random weights.", file=sys.stderr)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    writer = FeatureWriter(extractor, cfg, args.config_file, args.opts)

    start = time.perf_counter()
    jobs = list(zip(paths, unique_stems(paths), strict=True))
    for path, stem in track(jobs, "features"):
        writer.write(path, args.output / f"{stem}.safetensors")
    seconds = time.perf_counter() - start
    print(f"{len(jobs)} image(s) in {seconds:.1f} s: {', '.join(extractor.stages)}")
    print(f"{args.output}/: one .safetensors and one .json per image")
    return 0

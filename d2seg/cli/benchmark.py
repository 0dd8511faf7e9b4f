"""``d2seg benchmark``: how fast it is, compared in one run."""

import argparse
from pathlib import Path
from typing import Any

from d2seg.cli import benchmark_data, benchmark_parts, benchmark_predict
from d2seg.cli.arguments import add_config_file, add_overrides
from d2seg.cli.benchmark_options import TASKS, refuse_ignored, require_places, rounds_of, save
from d2seg.cli.benchmark_plot import draw_comparisons
from d2seg.cli.progress import show_round

EPILOG = """\
tasks:
  features   images per second of the extraction of features, by depth, against the whole model
             (without pasting masks); images are read and resized beforehand
  predict    whole images, from pixels to the masks of the objects, by everything that can run the
             model: torchvision where it has the same settings, detectron2 where it is installed,
             and the files that --also names. The default model has torchvision's settings and
             random weights.
  stages     where the time of an image goes in core, and what share of the machine's rate of matrix
             products each part reaches
  growth     how the time of an image grows with its size, proposals, objects, images in a batch and
             threads
  paste      masks of many objects brought into a large image: one by one, by torchvision, by core;
             they are made up, so that no model is needed
  train      one step of a training, from an image to updated weights, likewise
  data       what feeds a training: reading, resizing, masks from polygons and RLEs, and all of it,
             against Pillow, pycocotools and torchvision; then the whole loader by its workers. By
             default on the shipped images as 480x640 JPEG, with --input on others, both with
             made-up objects; with --config-file alone on the first images of its DATASETS.TRAIN

Everyone works on the same images with the same weights. They take turns: each runs once in a
round, in random order. The table has medians and quartiles over the rounds, and how many times as
fast as the first line each one was in the same round.

example:
  d2seg benchmark --config-file config.yaml --input photos/ --threads 2 --json speed.json \\
      MODEL.WEIGHTS model_final.pth
  d2seg benchmark --task predict --threads 2 --also mobile/mobile_optimized.ptl
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``d2seg benchmark``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "--task", choices=TASKS, default=TASKS[0], help="what to compare (default: features)"
    )
    add_config_file(parser, default="the shipped model; for the tasks after features see below")
    parser.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        help="images, folders, glob patterns (default: the shipped images)",
    )
    parser.add_argument(
        "--stages",
        nargs="+",
        metavar="STAGE",
        help="stages to time, one by one; 'everything' is all at once (default: the first level "
        "of the backbone, backbone, the main stages after it, everything)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="images in a batch, for features and data (default: 1)",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--rounds", type=int, default=10, metavar="N", help="timed rounds (default: 10)"
    )
    length.add_argument(
        "--seconds", type=float, metavar="S", help="begin rounds for so long, instead of --rounds"
    )
    parser.add_argument(
        "--warmup", type=int, default=1, metavar="N", help="untimed rounds before (default: 1)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="of torch (default: its own)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to this file")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw the figures as an SVG file (not stages)",
    )
    benchmark_predict.add_arguments(parser)
    benchmark_parts.add_arguments(parser)
    benchmark_data.add_arguments(parser)
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print and write; return the exit code."""
    from d2seg.benchmark import limit_threads

    refuse_ignored(args)
    require_places(args)
    tasks = {
        "features": _benchmark_features,
        "predict": benchmark_predict.run,
        "stages": benchmark_parts.run_stages,
        "growth": benchmark_parts.run_growth,
        "paste": benchmark_parts.run_paste,
        "train": benchmark_predict.run,
        "data": benchmark_data.run,
    }
    with limit_threads(args.threads):
        tasks[args.task](args)
    return 0


def _benchmark_features(args: argparse.Namespace) -> None:
    from d2seg import benchmark
    from d2seg.assets import DEMO_CONFIG_FILE, DEMO_IMAGES
    from d2seg.config import load_config
    from d2seg.images import find_images
    from d2seg.report.facts import config_name

    config_file = str(args.config_file or DEMO_CONFIG_FILE)
    rounds = rounds_of(args)
    cfg = load_config(config_file, args.opts)
    paths = find_images(args.input or [DEMO_IMAGES])
    batches = benchmark.prepare_batches(
        paths, cfg, 1 if args.batch_size is None else args.batch_size
    )
    model = benchmark.load_model(cfg)
    about: dict[str, Any] = {
        "task": args.task,
        "config_file": config_name(config_file),
        "overrides": args.opts,
        "weights": cfg.MODEL.WEIGHTS,
        "work": benchmark.describe_work(model, batches),
        "machine": benchmark.machine_facts(cfg.MODEL.DEVICE),
    }
    benchmark.print_about(about)
    comparisons = benchmark.benchmark_features(model, batches, args.stages, rounds, show_round)
    benchmark.print_report(comparisons)
    if args.plot:
        draw_comparisons(comparisons, args.plot)
    save(args.json, {**about, **benchmark.comparisons_as_json(comparisons)})

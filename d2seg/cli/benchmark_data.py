"""Task ``data`` of ``d2seg benchmark``."""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2seg.cli.benchmark_options import rounds_of, save
from d2seg.cli.benchmark_plot import draw_parts
from d2seg.cli.progress import show_round

if TYPE_CHECKING:
    from d2seg.benchmark.data_work import Records

PHOTOGRAPH_HW = (480, 640)
"""Size of the default images, as of most photographs of COCO."""

TRAINING_IMAGES = 100
MADE_UP_OBJECTS = 10
"""In each image; those of COCO have about 7."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that only this task has."""
    group = parser.add_argument_group("task data")
    group.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="take so many of the training set at most (default: 100)",
    )


def run(args: argparse.Namespace) -> None:
    """Time the parts of loading and the whole loader, print and write."""
    from d2seg import benchmark
    from d2seg.assets import BENCHMARK_CONFIG_FILE
    from d2seg.benchmark.data import benchmark_data
    from d2seg.config import load_config

    rounds = rounds_of(args)
    cfg = load_config(args.config_file or BENCHMARK_CONFIG_FILE, args.opts)
    with tempfile.TemporaryDirectory() as name:
        records, objects = _find_records(args, cfg, Path(name))
        batch_size = 1 if args.batch_size is None else args.batch_size
        about = _describe(args, records, objects, batch_size)
        benchmark.print_about(about)
        print(f"objects: {objects}", flush=True)
        found = benchmark_data(records, cfg, rounds, batch_size, show_round)
    for part, comparisons in found.items():
        print()
        benchmark.print_report(comparisons, part)
    if args.plot:
        draw_parts(found, args.plot)
    parts = {part: benchmark.comparisons_as_json(one) for part, one in found.items()}
    save(args.json, {**about, "parts": parts})


def _find_records(args: argparse.Namespace, cfg: Any, folder: Path) -> "tuple[Records, str]":
    """Return the images that the arguments name, and where their objects are from."""
    from d2seg.assets import DEMO_IMAGES
    from d2seg.benchmark.data_work import (
        POINTS,
        make_up_objects,
        read_training_set,
        write_photographs,
    )
    from d2seg.images import find_images

    of_training_set = bool(args.config_file and not args.input)
    for name in ("size", "objects") if of_training_set else ("images",):
        if getattr(args, name) is not None:
            used = "the training set is" if of_training_set else "no training set is"
            raise ValueError(f"--{name} does not count where {used} measured; leave it out.")
    if of_training_set:
        images = TRAINING_IMAGES if args.images is None else args.images
        return read_training_set(cfg, images), ", ".join(cfg.DATASETS.TRAIN)
    paths = find_images(args.input or [DEMO_IMAGES])
    size_hw = args.size or (None if args.input else PHOTOGRAPH_HW)
    if size_hw is not None:
        paths = write_photographs(paths, size_hw, folder)
    number = MADE_UP_OBJECTS if args.objects is None else args.objects
    return make_up_objects(paths, number), f"made up, outlines of {POINTS} points"


def _describe(
    args: argparse.Namespace, records: "Records", objects: str, batch_size: int
) -> dict[str, Any]:
    from d2seg import benchmark

    return {
        "task": args.task,
        "config_file": str(args.config_file or "d2seg://benchmark.yaml"),
        "overrides": args.opts,
        "objects": objects,
        "work": {
            "images": len(records),
            "batch_size": batch_size,
            "image_sizes_hw": [[one["height"], one["width"]] for one in records],
            "objects": sum(len(one["annotations"]) for one in records),
        },
        "machine": benchmark.machine_facts(),
    }

"""Tasks ``predict`` and ``train`` of ``d2seg benchmark``."""

import argparse
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2seg.cli.benchmark_options import rounds_of, save
from d2seg.cli.benchmark_plot import draw_comparisons
from d2seg.cli.progress import show_round

if TYPE_CHECKING:
    from d2seg.benchmark.alone import Alone
    from d2seg.benchmark.contestants import Entry
    from d2seg.benchmark.subject import Subject

STANDARD_SIZE_HW, STANDARD_OBJECTS = (800, 1333), 100
"""Of the default model, which has random weights."""

OBJECTS_TO_TRAIN_ON = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that only this task has."""
    group = parser.add_argument_group("tasks predict and train")
    group.add_argument(
        "--also",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="files exported from the model, which predict too",
    )
    group.add_argument(
        "--size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="stretch the images to this size, which the model then resizes as its config says "
        "(default: 800 1333 for the default model)",
    )
    group.add_argument(
        "--objects",
        type=int,
        metavar="N",
        help="set the score threshold so that each image has N objects (default: 100 for the "
        "default model); for train and data make up N objects (default: 10)",
    )
    group.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="keep the model that is measured, as config.yaml and model.pth, to export it",
    )
    group.add_argument(
        "--no-memory",
        action="store_true",
        help="do not measure memory and loading in processes of their own",
    )


def run(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    folder = nullcontext(args.keep) if args.keep else tempfile.TemporaryDirectory()
    with folder as name:
        _run_in(args, Path(name))


def _run_in(args: argparse.Namespace, folder: Path) -> None:
    from d2seg import benchmark
    from d2seg.benchmark.contestants import list_entries
    from d2seg.benchmark.predict import benchmark_predict
    from d2seg.benchmark.train import list_steps

    rounds = rounds_of(args)
    subject = make_subject_of(args, folder)
    if args.task == "train":
        objects = OBJECTS_TO_TRAIN_ON if args.objects is None else args.objects
        entries, left_out = list_steps(subject, objects)
    else:
        entries, left_out = list_entries(subject.config_file, args.also)
    about = describe(args, subject)
    benchmark.print_about(about)
    for name, reason in left_out:
        print(f"without {name}: {reason}")
    found = benchmark_predict(subject, entries, rounds, show_round)
    about["work"]["objects"] = found.objects
    benchmark.print_report(found.comparisons)
    print(f"objects: {', '.join(f'{name} {count}' for name, count in found.objects.items())}")
    alone: dict[str, Alone] = {}
    try:
        if args.plot:
            draw_comparisons(found.comparisons, args.plot)
        if not args.no_memory:
            _measure_alone(entries, folder, alone)
    finally:  # whatever happens now, the times are not lost
        about["alone"] = {name: one._asdict() for name, one in alone.items()}
        save(args.json, {**about, **benchmark.comparisons_as_json(found.comparisons)})


def make_subject_of(args: argparse.Namespace, folder: Path) -> "Subject":
    """Read the images and write the model that the arguments name, or the default ones."""
    from d2seg.assets import BENCHMARK_CONFIG_FILE, DEMO_IMAGES
    from d2seg.benchmark.subject import make_subject, read_images
    from d2seg.config import load_config
    from d2seg.images import find_images

    default = args.config_file is None
    cfg = load_config(args.config_file or BENCHMARK_CONFIG_FILE, args.opts)
    size_hw = args.size or (STANDARD_SIZE_HW if default else None)
    objects = args.objects
    if objects is None and default and not cfg.MODEL.WEIGHTS:
        objects = STANDARD_OBJECTS
    if args.task == "train":
        objects = None  # nothing is found, so there is no threshold to set
    paths = find_images(args.input) if args.input else find_images([DEMO_IMAGES])[:1]
    return make_subject(cfg, read_images(paths, size_hw), folder, objects)


def describe(args: argparse.Namespace, subject: "Subject") -> dict[str, Any]:
    """Return what was measured and where, as JSON can hold it."""
    from d2seg import benchmark

    return {
        "task": args.task,
        "config_file": str(args.config_file or "d2seg://benchmark.yaml"),
        "overrides": args.opts,
        "weights": subject.weights,
        "work": {
            "images": len(subject.images),
            "batch_size": 1,
            "network_sizes_hw": subject.network_sizes_hw,
            "objects": None,
        },
        "machine": benchmark.machine_facts(subject.cfg.MODEL.DEVICE),
    }


def _measure_alone(entries: "list[Entry]", folder: Path, alone: "dict[str, Alone]") -> None:
    """Fill in what contestants cost by themselves, and print it; who fails is left out."""
    import torch

    from d2seg import benchmark
    from d2seg.benchmark.alone import measure_alone

    for one in entries:
        try:
            alone[one.name] = measure_alone(one, folder, torch.get_num_threads())
        except RuntimeError as error:
            print(f"left out of the memory: {error}", flush=True)
    if alone:
        benchmark.print_alone(alone)

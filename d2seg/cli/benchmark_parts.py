"""Tasks ``stages``, ``growth`` and ``paste`` of ``d2seg benchmark``."""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2seg.cli.benchmark_plot import draw_comparisons, draw_growth
from d2seg.cli.benchmark_predict import describe, make_default_subject
from d2seg.cli.progress import show_round

LARGE_HW, MASKS, SIDES = (3000, 4000), 100, (0.3, 0.9)
"""Of the task ``paste``: the image, the number of masks, and their sides in shares of its."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that only these tasks have."""
    group = parser.add_argument_group("task paste")
    group.add_argument(
        "--sides",
        nargs=2,
        type=float,
        default=SIDES,
        metavar=("LOW", "HIGH"),
        help="bounds of the sides of boxes, in shares of those of the image (default: 0.3 0.9)",
    )


def run_stages(args: argparse.Namespace) -> None:
    """Time the parts of a model, print and write."""
    from d2seg import benchmark
    from d2seg.benchmark.stages import benchmark_stages

    rounds = benchmark.Rounds(args.rounds, None, args.warmup)
    with tempfile.TemporaryDirectory() as name:
        subject = make_default_subject(args, Path(name))
        about = describe(args, subject)
        benchmark.print_about(about)
        found = benchmark_stages(subject, rounds, show_round)
    benchmark.print_stages(found)
    stages = [{**one._asdict(), "seconds": one.seconds._asdict()} for one in found.stages]
    _save(args.json, {**about, "gflops": found.gflops_per_second._asdict(), "stages": stages})


def run_growth(args: argparse.Namespace) -> None:
    """Time a model while one thing after the other grows; print, draw and write."""
    from d2seg import benchmark
    from d2seg.benchmark.growth import at_most_linear, benchmark_growth

    rounds = benchmark.Rounds(args.rounds, None, args.warmup)
    with tempfile.TemporaryDirectory() as name:
        subject = make_default_subject(args, Path(name))
        about = describe(args, subject)
        benchmark.print_about(about)
        points = benchmark_growth(subject, rounds, after_round=show_round)
    benchmark.print_growth(points)
    if args.plot:
        draw_growth(points, args.plot)
    rows = [{**one._asdict(), "seconds": one.seconds._asdict()} for one in points]
    _save(args.json, {**about, "points": rows, "at_most_linear": at_most_linear(points)})


def run_paste(args: argparse.Namespace) -> None:
    """Time the pasting of masks, print, draw and write."""
    from d2seg import benchmark
    from d2seg.benchmark.paste import benchmark_paste

    objects = MASKS if args.objects is None else args.objects
    size_hw = tuple(args.size or LARGE_HW)
    about = {
        "task": args.task,
        "work": {"objects": objects, "size_hw": size_hw, "sides": args.sides},
        "machine": benchmark.machine_facts(),
    }
    low, high = args.sides
    print(f"{objects} mask(s) in an image of {size_hw[0]}x{size_hw[1]}, sides {low:g} to {high:g}")
    benchmark.print_machine(about["machine"])
    rounds = benchmark.Rounds(args.rounds, args.seconds, args.warmup)
    found = benchmark_paste(objects, size_hw, (low, high), rounds, show_round)
    benchmark.print_report(found.comparisons)
    print(f"differing pixels: {', '.join(f'{key} {n}' for key, n in found.differing.items())}")
    if args.plot:
        draw_comparisons(found.comparisons, args.plot)
    if args.json:
        about["differing_pixels"] = found.differing
        benchmark.save_report(args.json, found.comparisons, about)
        print(f"{args.json}: all of this, and the time of every round")


def _save(path: Path | None, document: Mapping[str, Any]) -> None:
    from d2seg.core.runtime.files import replace_when_complete

    if path is None:
        return
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"{path}: all of this")

"""Tasks ``stages``, ``growth`` and ``paste`` of ``d2seg benchmark``."""

import argparse
import tempfile
from pathlib import Path

from d2seg.cli.benchmark_options import rounds_of, save
from d2seg.cli.benchmark_plot import draw_comparisons, draw_growth
from d2seg.cli.benchmark_predict import describe, make_subject_of
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
        metavar=("LOW", "HIGH"),
        help="bounds of the sides of boxes, in shares of those of the image (default: 0.3 0.9)",
    )


def run_stages(args: argparse.Namespace) -> None:
    """Time the parts of a model, print and write."""
    from d2seg import benchmark
    from d2seg.benchmark.stages import benchmark_stages

    rounds = rounds_of(args)
    with tempfile.TemporaryDirectory() as name:
        subject = make_subject_of(args, Path(name))
        about = describe(args, subject)
        benchmark.print_about(about)
        found = benchmark_stages(subject, rounds, show_round)
    benchmark.print_stages(found)
    stages = [{**one._asdict(), "seconds": one.seconds._asdict()} for one in found.stages]
    rates = {"gflops": found.gflops_per_second._asdict(), "round_rates": found.round_rates}
    save(args.json, {**about, **rates, "stages": stages})


def run_growth(args: argparse.Namespace) -> None:
    """Time a model while one thing after the other grows; print, draw and write."""
    from d2seg import benchmark
    from d2seg.benchmark.growth import at_most_linear, benchmark_growth

    rounds = rounds_of(args)
    with tempfile.TemporaryDirectory() as name:
        subject = make_subject_of(args, Path(name))
        about = describe(args, subject)
        benchmark.print_about(about)
        points = benchmark_growth(subject, rounds, after_round=show_round)
    benchmark.print_growth(points)
    if args.plot:
        draw_growth(points, args.plot)
    rows = [{**one._asdict(), "seconds": one.seconds._asdict()} for one in points]
    save(args.json, {**about, "points": rows, "at_most_linear": at_most_linear(points)})


def run_paste(args: argparse.Namespace) -> None:
    """Time the pasting of masks, print, draw and write."""
    from d2seg import benchmark
    from d2seg.benchmark.paste import benchmark_paste

    rounds = rounds_of(args)
    objects = MASKS if args.objects is None else args.objects
    size_hw = tuple(args.size or LARGE_HW)
    low, high = args.sides or SIDES
    about = {
        "task": args.task,
        "work": {"objects": objects, "size_hw": size_hw, "sides": [low, high]},
        "machine": benchmark.machine_facts(),
    }
    print(f"{objects} mask(s) in an image of {size_hw[0]}x{size_hw[1]}, sides {low:g} to {high:g}")
    benchmark.print_machine(about["machine"])
    found = benchmark_paste(objects, size_hw, (low, high), rounds, show_round)
    benchmark.print_report(found.comparisons)
    print(f"differing pixels: {', '.join(f'{key} {n}' for key, n in found.differing.items())}")
    if args.plot:
        draw_comparisons(found.comparisons, args.plot)
    about["differing_pixels"] = found.differing
    save(args.json, {**about, **benchmark.comparisons_as_json(found.comparisons)})

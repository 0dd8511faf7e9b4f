"""Tasks ``stages`` and ``growth`` of ``d2seg benchmark``."""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2seg.cli.benchmark_predict import describe, make_default_subject
from d2seg.cli.progress import show_round

if TYPE_CHECKING:
    from d2seg.benchmark.growth import Point


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that only these tasks have."""
    group = parser.add_argument_group("task growth")
    group.add_argument("--plot", type=Path, metavar="FILE", help="draw the growth as an SVG file")


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
    from d2seg.benchmark.growth import benchmark_growth

    rounds = benchmark.Rounds(args.rounds, None, args.warmup)
    with tempfile.TemporaryDirectory() as name:
        subject = make_default_subject(args, Path(name))
        about = describe(args, subject)
        benchmark.print_about(about)
        points = benchmark_growth(subject, rounds, after_round=show_round)
    benchmark.print_growth(points)
    if args.plot:
        _draw(points, args.plot)
        print(f"{args.plot}: time over amount")
    rows = [{**one._asdict(), "seconds": one.seconds._asdict()} for one in points]
    _save(args.json, {**about, "points": rows})


def _save(path: Path | None, document: Mapping[str, Any]) -> None:
    from d2seg.core.runtime.files import replace_when_complete

    if path is None:
        return
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"{path}: all of this")


def _draw(points: "Sequence[Point]", path: Path) -> None:
    """Draw a chart for each thing that grows, beside the line of proportional growth."""
    from d2seg.core.runtime.files import replace_when_complete
    from d2seg.report.evaluation import svg

    charts = []
    for what in dict.fromkeys(one.what for one in points):
        line = [(one.amount, one.seconds.median) for one in points if one.what == what]
        (amount, seconds), last = line[0], line[-1][0]
        reached = max(value for _, value in line)
        axes = svg.Axes(what, "seconds", (0.0, last), svg.round_steps(reached)[-1])
        end = min(last, amount * axes.y_max / seconds)  # where proportional growth leaves the chart
        proportional = [(amount, seconds), (end, seconds * end / amount)]
        lines = [
            svg.Line("in proportion", proportional, "#aaaaaa", 1.0),
            svg.Line("measured", line, "#3366cc"),
        ]
        charts.append(svg.line_chart(axes, lines))
    with replace_when_complete(path) as temporary:
        temporary.write_text(svg.document(charts), encoding="utf-8")

"""The result of a benchmark: a table for people, JSON for machines."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from d2seg.benchmark.alone import Alone
from d2seg.benchmark.comparison import Comparison, Spread
from d2seg.benchmark.growth import JUDGED, Point, at_most_linear
from d2seg.benchmark.stages import Stages
from d2seg.core.runtime.files import replace_when_complete


def save_report(path: str | Path, document: Mapping[str, Any]) -> None:
    """Write everything as JSON; the file appears whole or not at all.

    Args:
        path: The file.
        document: What was measured and where, and what came out.
    """
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def comparisons_as_json(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return the ``baseline`` and the ``results`` of everyone, as JSON can hold them."""
    results = [
        {
            "name": item.name,
            "seconds_per_image": item.seconds_per_image._asdict(),
            "images_per_second": item.images_per_second._asdict(),
            "speedup": item.speedup._asdict(),
            "seconds": item.seconds,
        }
        for item in comparisons
    ]
    return {"baseline": comparisons[0].name, "results": results}


def print_report(comparisons: Sequence[Comparison], title: str = "") -> None:
    """Print the table: median, and in brackets the middle half of the rounds."""
    from rich.console import Console
    from rich.table import Table

    baseline = comparisons[0].name
    table = Table(show_edge=False, caption="Median of the rounds [quartiles]")
    table.add_column(title, overflow="fold")
    for heading in ("ms per image", "images/s", f"times as fast as the {baseline}"):
        table.add_column(heading, justify="right")
    for item in comparisons:
        milliseconds = Spread(*(1000 * value for value in item.seconds_per_image))
        cells = (milliseconds, item.images_per_second, item.speedup)
        table.add_row(item.name, *map(_text, cells))
    # Brackets would be read as markup.
    Console(markup=False, highlight=False).print(table)


def print_alone(alone: Mapping[str, Alone]) -> None:
    """Print what contestants cost by themselves, and their working memory beside the first's.

    Those whose memory is of a GPU get a table of their own.
    """
    for memory_of in dict.fromkeys(one.memory_of for one in alone.values()):
        same = {name: one for name, one in alone.items() if one.memory_of == memory_of}
        _print_memory(same, memory_of)


def _print_memory(alone: Mapping[str, Alone], memory_of: str) -> None:
    from rich.console import Console
    from rich.table import Table

    caption = "Each in a process of its own; working: the peak less what was there when loaded"
    table = Table(show_edge=False, caption=caption)
    baseline = next(iter(alone))
    table.add_column("", overflow="fold")
    memory = f"MiB of {memory_of}"
    for heading in ("load, s", f"loaded, {memory}", f"working, {memory}", f"working / {baseline}"):
        table.add_column(heading, justify="right")
    for name, one in alone.items():
        share = one.working_mib / max(alone[baseline].working_mib, 1.0)
        table.add_row(name, *map(_round, (one.load_s, one.loaded_mib, one.working_mib, share)))
    Console(markup=False, highlight=False).print(table)


def print_stages(found: Stages) -> None:
    """Print where the time goes, and the share of the rate of a matrix product."""
    from rich.console import Console
    from rich.table import Table

    rate = found.gflops_per_second
    caption = f"A product of matrices reaches {_text(rate)} GFLOP/s; median of the rounds"
    table = Table(show_edge=False, caption=caption)
    table.add_column("")
    for heading in ("ms [quartiles]", "share", "GFLOP", "of the matrix rate"):
        table.add_column(heading, justify="right")
    for one in found.stages:
        milliseconds = Spread(*(1000 * value for value in one.seconds))
        counted = (_round(one.gflop), f"{one.rate_share:.0%}") if one.gflop else ("", "")
        table.add_row(one.name, _text(milliseconds), f"{one.share:.0%}", *counted)
    Console(markup=False, highlight=False).print(table)


def print_growth(points: Sequence[Point]) -> None:
    """Print each measurement, and its time and amount relative to the first of its kind.

    Time over amount is left out where the time is of a part of the amount, or falls with it.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(show_edge=False, caption="For one image; x: relative to the first")
    for heading in ("", "amount", "ms", "x amount", "x time", "time / amount"):
        table.add_column(heading, justify="right")
    first: dict[str, Point] = {}
    for point in points:
        start = first.setdefault(point.what, point)
        milliseconds = Spread(*(1000 * value for value in point.seconds))
        more, longer = point.amount / start.amount, point.seconds.median / start.seconds.median
        ratio = _round(longer / more) if point.what in JUDGED else ""
        row = (f"{point.amount:.4g}", _text(milliseconds), _round(more), _round(longer), ratio)
        table.add_row(point.what, *row)
    Console(markup=False, highlight=False).print(table)
    for what, holds in at_most_linear(points).items():
        print(f"{what}: time grows {'no faster than' if holds else 'FASTER THAN'} linearly")


def print_about(about: Mapping[str, Any]) -> None:
    """Say in a few lines what is measured, and on what.

    Args:
        about: ``weights`` where there is a model, ``work`` (see `describe_work`; without a network
            it has ``image_sizes_hw``) and ``machine`` (see `machine_facts`).
    """
    work = about["work"]
    if about.get("weights") == "":
        print("MODEL.WEIGHTS is empty: random weights, which detect what they like.")
    sizes_hw = work.get("network_sizes_hw") or work["image_sizes_hw"]
    sizes = sorted({f"{height}x{width}" for height, width in sizes_hw})
    size = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes"
    objects = "" if work["objects"] is None else f", {work['objects']} object(s) in all"
    print(f"{work['images']} image(s) of {size}, batches of {work['batch_size']}{objects}")
    print_machine(about["machine"])


def print_machine(machine: Mapping[str, Any]) -> None:
    """Say on what it is measured; see `machine_facts`."""
    processor = machine.get("gpu", machine["cpu"])
    print(
        f"{processor}, {machine['threads']} thread(s) on {machine['cores']} core(s), "
        f"torch {machine['torch']}, {machine['framework']}",
        flush=True,
    )


def _text(spread: Spread) -> str:
    median, lower, upper = (_round(value) for value in spread)
    return f"{median} [{lower}, {upper}]"


def _round(value: float) -> str:
    """Return a number with three digits, or all that stand before its point."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"

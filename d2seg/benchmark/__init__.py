"""How fast things are, compared in one run on the same images and weights."""

from d2seg.benchmark.comparison import Comparison, Spread, compare
from d2seg.benchmark.features import benchmark_features
from d2seg.benchmark.machine import limit_threads, machine_facts
from d2seg.benchmark.report import (
    comparisons_as_json,
    print_about,
    print_alone,
    print_growth,
    print_machine,
    print_report,
    print_stages,
    save_report,
)
from d2seg.benchmark.rounds import Contestant, Rounds, check_rounds, time_rounds
from d2seg.benchmark.work import describe_work, load_model, prepare_batches

__all__ = [
    "Comparison",
    "Contestant",
    "Rounds",
    "Spread",
    "benchmark_features",
    "check_rounds",
    "compare",
    "comparisons_as_json",
    "describe_work",
    "limit_threads",
    "load_model",
    "machine_facts",
    "prepare_batches",
    "print_about",
    "print_alone",
    "print_growth",
    "print_machine",
    "print_report",
    "print_stages",
    "save_report",
    "time_rounds",
]

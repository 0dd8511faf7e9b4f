"""``d2seg check-data``: read a data set before a night of training is lost on it."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from d2seg.cli.arguments import add_overrides, output_file, output_folder

if TYPE_CHECKING:
    from d2seg.check_data import Finding, Report
    from d2seg.check_data.configs import DatasetFiles
    from d2seg.framework import CfgNode

EPILOG = """\
Findings are errors (training or evaluation stops, or learns something wrong), warnings (probably
not meant so) or notes. The exit code is 1 if there is an error, else 0; with --fix it is that of
the corrected copy. Label maps, as of semantic segmentation, are not checked.

examples:
  d2seg check-data --json instances.json --images photos/ --num-classes 3 --output report
  d2seg check-data --json instances.json --images photos/ --fix corrected.json
  d2seg check-data --config-file config.yaml DATASETS.TEST "('my_val',)"
"""

COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``d2seg check-data``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("--json", metavar="FILE", help="annotations in COCO's format")
    parser.add_argument("--images", metavar="DIR", help="folder of the images, with --json")
    parser.add_argument(
        "--num-classes", type=int, metavar="N", help="NUM_CLASSES of the model, with --json"
    )
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="check every data set of DATASETS.TRAIN and DATASETS.TEST, against its model",
    )
    parser.add_argument(
        "--output",
        type=output_folder,
        metavar="DIR",
        help="write a page with pictures, and findings.json",
    )
    parser.add_argument(
        "--max-pictures",
        type=int,
        default=12,
        metavar="N",
        help="pictures on the page, the worst images first (default: 12)",
    )
    parser.add_argument(
        "--fix", type=output_file, metavar="FILE", help="write a corrected copy of the annotations"
    )
    parser.add_argument(
        "--decode",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="read every pixel of the images, which finds files that end too early; --no-decode "
        "reads only their headers, which is much faster (default: decode)",
    )
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Check and report; return the exit code."""
    _require_consistent(args)
    reports, between = _check_config(args) if args.config_file else ([_check_json(args)], [])
    for report in reports:
        print_findings(report.findings, report.name if len(reports) > 1 else "")
    print_findings(between, "between the data sets")
    for report in reports:
        print(report.conclusion())
    if args.output and reports:
        from d2seg.report.data_page import write_data_page

        page = write_data_page(args.output, reports, between, args.max_pictures)
        shown = any(report.data and report.data.images for report in reports)
        what = "pictures of the worst images" if shown and args.max_pictures else "what was found"
        print(f"{page}: {what}; findings.json beside it lists everything")
    if args.fix:
        reports = [_fix(args.fix, reports[0])]
    passed = all(report.passed for report in reports)
    return 0 if passed and not any(f.severity == "error" for f in between) else 1


def print_findings(findings: Sequence["Finding"], title: str) -> None:
    """Print findings by kind: a table on a terminal, lines elsewhere."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from d2seg.check_data import group_by_kind

    console, kinds = Console(), group_by_kind(findings)
    if not console.is_terminal:
        if title and kinds:
            print(f"{title}:")
        for kind in kinds:
            print(f"{kind.severity}: {kind.kind}: {kind.number}. {kind.example}")
    elif kinds:
        table = Table(
            "", "found", title=Text(title) if title else None, show_edge=False, title_justify="left"
        )
        table.add_column("count", justify="right")
        table.add_column("images", justify="right")
        table.add_column("example", ratio=1)
        for kind in kinds:
            mark = Text(kind.severity, COLOURS[kind.severity])
            images = str(kind.image_count or "")
            table.add_row(mark, kind.kind, str(kind.number), images, Text(kind.example))
        console.print(table)


def _fix(path: Path, report: "Report") -> "Report":
    """Write the corrected copy, and say what was changed and what is left; return its report."""
    from d2seg.check_data import write_corrected

    corrected, lines = write_corrected(report, path)
    print(f"{path}: a corrected copy")
    for line in lines or ["nothing had to be changed"]:
        print(f"    {line}")
    print_findings(corrected.findings, f"left in {path}")
    print(corrected.conclusion())
    return corrected


def _require_consistent(args: argparse.Namespace) -> None:
    direct = [name for name in ("json", "images", "num_classes") if getattr(args, name) is not None]
    if args.config_file and direct:
        option = direct[0].replace("_", "-")
        raise ValueError(f"--config-file names the data sets itself; leave out --{option}.")
    if not args.config_file and not (args.json and args.images is not None):
        raise ValueError("Give --json and --images, or --config-file.")
    if not args.config_file and args.opts:
        raise ValueError(
            f"'{args.opts[0]}' overrides a config, but there is no --config-file; leave it out."
        )
    if args.num_classes is not None and args.num_classes < 1 and args.num_classes != -1:
        raise ValueError(f"--num-classes is {args.num_classes}; a number from 1, or -1, is due.")
    if args.max_pictures < 0:
        raise ValueError(f"--max-pictures is {args.max_pictures}; a number from 0 is expected.")


def _check_json(args: argparse.Namespace) -> "Report":
    from d2seg.check_data import Expectations, check_dataset
    from d2seg.cli.progress import track

    number = None if args.num_classes == -1 else args.num_classes
    expected = Expectations(num_classes=number)
    json_file, images = os.path.expanduser(args.json), os.path.expanduser(args.images)
    return check_dataset(json_file, images, expected, args.decode, progress=track)


def _check_config(args: argparse.Namespace) -> tuple[list["Report"], list["Finding"]]:
    from d2seg.check_data import check_dataset, compare_datasets
    from d2seg.check_data.configs import expectations
    from d2seg.cli.progress import track
    from d2seg.config import load_config
    from d2seg.datasets import register_datasets

    cfg = load_config(args.config_file, args.opts)
    register_datasets(cfg)
    datasets = _datasets_in_coco_format(cfg)
    if args.fix and len(datasets) != 1:
        raise ValueError(
            f"--fix writes one file, but the config has {len(datasets)} data sets in COCO's "
            "format; give --json and --images."
        )
    reports = []
    for name, json_file, image_root in datasets:
        expected = expectations(cfg, name in cfg.DATASETS.TRAIN, name in cfg.DATASETS.TEST)
        reports.append(check_dataset(json_file, image_root, expected, args.decode, name, track))
    return reports, compare_datasets(reports, cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, track)


def _datasets_in_coco_format(cfg: "CfgNode") -> list["DatasetFiles"]:
    from d2seg.check_data.configs import datasets_of

    datasets = datasets_of(cfg)
    for dataset in datasets:
        if not dataset.json_file:
            print(f"{dataset.name}: left out, it is not in COCO's format.")
    kept = [dataset for dataset in datasets if dataset.json_file]
    if not kept:
        print(
            "Nothing was checked: the annotations of objects in COCO's format are, and the config "
            "has none. Label maps and other formats are only read by a training."
        )
    return kept

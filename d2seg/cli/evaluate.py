"""``d2seg evaluate``: what models are worth on annotated images, whatever they are stored in."""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2seg.cli.arguments import add_model, add_overrides, add_resizing, model_options, output_folder

if TYPE_CHECKING:
    from d2seg.predict.evaluation import Evaluation

STATED_LOSS = 0.5
"""A loss of average precision from which a line says so."""

EPILOG = """\
All models go through the same predictor and the same COCO evaluator. The table has the size of each
file, average precision in percent and its difference from the first model, and the mean time for an
image, from the pixels to the prediction; it depends on what else the machine does, and d2seg
benchmark compares times fairly. --weights and KEY VALUE are for configs; files have their own.

examples:
  d2seg evaluate --model config.yaml mobile_optimized.ptl model.onnx --weights model_final.pth \\
      --json instances_val.json --images val/
  d2seg evaluate --model mobile_optimized.ptl --dataset coco_2017_val --output found
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``d2seg evaluate``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add_model(parser, several=True)
    parser.add_argument("--json", metavar="FILE", help="annotations (COCO)")
    parser.add_argument("--images", metavar="DIR", help="folder of their images")
    parser.add_argument("--dataset", metavar="NAME", help="a registered data set, instead of both")
    add_resizing(parser)
    parser.add_argument(
        *("--prob-threshold", "--prob_threshold"),
        type=float,
        default=0.0,
        metavar="P",
        help="least score of an object (default: as the model has it)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="images that run together (1)"
    )
    parser.add_argument(
        "--output",
        type=output_folder,
        metavar="DIR",
        help="folder for evaluation.json, and the detections of each model for d2seg report",
    )
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print; return the exit code."""
    models = args.model or [None]
    names = model_names(models)
    evaluations = []
    with _dataset(args) as dataset:
        predictors = [_open(args, model) for model in models]
        for name, predictor in zip(names, predictors, strict=True):
            evaluations.append(_evaluate(args, name, *predictor, dataset))
    print(table(evaluations))
    for line in losses(evaluations):
        print(line)
    if args.output:
        _write(args.output / "evaluation.json", evaluations)
    return 0


def model_names(models: Sequence[str | None]) -> list[str]:
    """Name models as shortly as tells them apart: by their files, or with their folders.

    Args:
        models: Paths; None for the shipped model.
    """
    paths = [Path(model or "shipped model") for model in models]
    short = [path.name for path in paths]
    if len(set(short)) == len(short):
        return short
    return [path.as_posix() for path in paths]


def table(rows: "Sequence[Evaluation]") -> str:
    """Lay evaluations out as Markdown; differences are from the first one."""
    kinds = list(dict.fromkeys(kind for row in rows for kind in row.precision))
    titles = ["model", "MB"]
    titles += [title for kind in kinds for title in (f"{kind} AP", "difference")]
    lines = [[*titles, "s / image"], ["---", *["--:"] * len(titles)]]
    for row in rows:
        cells = [row.name, "-" if row.megabytes is None else f"{row.megabytes:.1f}"]
        for kind in kinds:
            value, first = (_ap(one, kind) for one in (row, rows[0]))
            cells += [_number(value, ".2f"), _number(value - first, "+.2f")]
        lines.append([*cells, f"{row.seconds:.3f}"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def losses(rows: "Sequence[Evaluation]") -> list[str]:
    """Say in sentences which models lose more than ``STATED_LOSS`` against the first."""
    return [
        f"{row.name} loses {_ap(rows[0], kind) - _ap(row, kind):.2f} of {kind} AP."
        for row in rows[1:]
        for kind in row.precision
        if _ap(rows[0], kind) - _ap(row, kind) > STATED_LOSS
    ]


def _ap(row: "Evaluation", kind: str) -> float:
    return row.precision.get(kind, {}).get("AP", math.nan)


def _number(value: float, how: str) -> str:
    return "-" if math.isnan(value) else format(value, how)


@contextmanager
def _dataset(args: argparse.Namespace) -> Iterator[str]:
    """Yield the name of the data set; one of files is registered for that time."""
    from d2seg.framework import DatasetCatalog, MetadataCatalog, register_coco_instances

    if args.dataset and not (args.json or args.images):
        yield args.dataset
        return
    if args.dataset or not (args.json and args.images):
        raise ValueError("Give the annotations and images (--json, --images), or a --dataset.")
    for path, there in ((args.json, Path.is_file), (args.images, Path.is_dir)):
        if not there(Path(path)):
            raise FileNotFoundError(f"There is no '{path}'.")
    name = f"evaluate:{args.json}"
    register_coco_instances(name, {}, args.json, args.images)
    try:
        yield name
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def _open(args: argparse.Namespace, model: str | None) -> tuple[Any, float | None]:
    """Return the predictor of a model and how large it is; all are opened before one runs."""
    from d2seg.config import load_config
    from d2seg.predict import Predictor
    from d2seg.predict.evaluation import stored_megabytes
    from d2seg.predict.predictor import is_config

    options = model_options(args, model)
    weights = ""
    if is_config(options["source"]):
        cfg = load_config(options["source"], args.opts)
        weights = options["weights"] or cfg.MODEL.WEIGHTS
    else:
        options |= {"weights": "", "overrides": []}
    predictor = Predictor(
        **options, score_threshold=args.prob_threshold, batch_size=args.batch_size
    )
    return predictor, stored_megabytes(options["source"], weights)


def _evaluate(
    args: argparse.Namespace, name: str, predictor: Any, megabytes: float | None, dataset: str
) -> "Evaluation":
    from dataclasses import replace

    from d2seg.cli.progress import advancing
    from d2seg.framework import DatasetCatalog
    from d2seg.images import unique_name
    from d2seg.inputs.source import file_safe
    from d2seg.predict.evaluation import evaluate

    folder = args.output / unique_name(file_safe(name), set()) if args.output else None
    total = len(DatasetCatalog.get(dataset))
    with advancing(total, name) as advance:
        found = evaluate(predictor, dataset, name=name, output_dir=folder, advance=advance)
    return replace(found, megabytes=megabytes)


def _write(path: Path, evaluations: "Sequence[Evaluation]") -> None:
    from d2seg.core.runtime.files import replace_when_complete

    rows = [asdict(one) for one in evaluations]
    # Where there is nothing to measure it is nan, which JSON has not.
    for row in rows:
        for values in row["precision"].values():
            values.update({k: None for k, value in values.items() if math.isnan(value)})
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    print(path)

#!/usr/bin/env python
"""Export a model with each way of storing weights, and measure what it costs.

    python tools/compare_weights.py --config-file d2seg/assets/nuclei.yaml \
        --json tests/data/nuclei/instances_val.json --images tests/data/nuclei/images --output out

Prints a table in Markdown: size, operators, average precision (boxes, masks) and its difference
from float32, time for an image, and memory that loading and one image take beyond torch itself.
The files stay in the output folder.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from d2seg.config import load_config
from d2seg.export import export_model, inspect_file, read_description
from d2seg.export.accuracy import file_accuracy
from d2seg.export.torchscript import load_lite
from d2seg.export.weights import WEIGHTS
from d2seg.framework import (
    CfgNode,
    DatasetCatalog,
    DetectionCheckpointer,
    build_model,
    register_coco_instances,
)
from d2seg.images import load_image, prepare_image

DATASET = "compare_weights"
STATED_LOSS = 0.5
"""A loss of average precision from which a line says so."""

MEASURE_MEMORY = """
import sys, torch, torch.jit.mobile

def kilobytes(name):
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(name)))

image = torch.rand(3, int(sys.argv[2]), int(sys.argv[3])) * 255
torch.nn.functional.conv2d(image[None], torch.zeros(1, 3, 1, 1))  # what torch itself needs to run
open("/proc/self/clear_refs", "w").write("5")  # forget the peak of importing torch
before = kilobytes("VmRSS")
with torch.inference_mode():
    torch.jit.mobile._load_for_lite_interpreter(sys.argv[1])(image)
print(kilobytes("VmHWM") - before)
"""


class Row(NamedTuple):
    """What one file is and does.

    Attributes:
        name: How it stores the weights.
        megabytes: Size of the file, in units of 10^6 bytes.
        operators: How many a runtime must have.
        precision: Average precision in percent, by kind.
        seconds: For an image, evaluation included.
        peak_megabytes: Memory for loading and one image, beyond torch; None where not measured.
    """

    name: str
    megabytes: float
    operators: int
    precision: dict[str, float]
    seconds: float
    peak_megabytes: float | None


def main(argv: Sequence[str] | None = None) -> None:
    """Export, measure and print."""
    args = _parse(argv)
    cfg = load_config(args.config_file, args.opts)
    model = build_model(cfg).eval()
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    register_coco_instances(DATASET, {}, args.json, args.images)
    rows = [measure(model, cfg, args.output / weights, weights) for weights in args.weights]
    print(table(rows))
    for line in losses(rows):
        print(line)


def measure(model: Any, cfg: CfgNode, folder: Path, weights: str) -> Row:
    """Export a model, and judge the file by the registered data set."""
    export_model(model, cfg, folder, weights=weights)
    path = folder / "mobile_optimized.ptl"
    names = [output.name for output in read_description(path).outputs]
    start = time.perf_counter()
    results = file_accuracy(load_lite(path), names, cfg, DATASET)
    entries = DatasetCatalog.get(DATASET)
    seconds = (time.perf_counter() - start) / len(entries)
    facts = inspect_file(path)
    precision = {kind: values["AP"] for kind, values in results.items()}
    image = prepare_image(load_image(entries[0]["file_name"]), cfg)["image"]
    peak = peak_megabytes(path, (image.shape[1], image.shape[2]))
    return Row(weights, facts.megabytes, len(facts.operators), precision, seconds, peak)


def peak_megabytes(path: Path, size_hw: tuple[int, int]) -> float | None:
    """Measure the memory of loading a file and running one image, in a process of its own.

    Returns:
        Units of 10^6 bytes beyond what torch takes; None where the system does not tell.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    command = [sys.executable, "-W", "ignore", "-c", MEASURE_MEMORY, str(path), *map(str, size_hw)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024 / 1e6


def table(rows: Sequence[Row]) -> str:
    """Lay rows out as Markdown; differences are from the first one."""
    kinds = list(rows[0].precision)
    titles = ["weights", "MB", "operators"]
    titles += [title for kind in kinds for title in (f"{kind} AP", "difference")]
    lines = [[*titles, "s / image", "peak MB"], ["---", *["--:"] * (len(titles) + 1)]]
    for row in rows:
        cells = [row.name, f"{row.megabytes:.1f}", str(row.operators)]
        for kind in kinds:
            difference = row.precision[kind] - rows[0].precision[kind]
            cells += [f"{row.precision[kind]:.2f}", f"{difference:+.2f}"]
        peak = "-" if row.peak_megabytes is None else f"{row.peak_megabytes:.0f}"
        lines.append([*cells, f"{row.seconds:.2f}", peak])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def losses(rows: Sequence[Row]) -> list[str]:
    """Say in sentences which files lose more than ``STATED_LOSS`` against the first."""
    return [
        f"{row.name} loses {rows[0].precision[kind] - value:.2f} of {kind} AP."
        for row in rows[1:]
        for kind, value in row.precision.items()
        if rows[0].precision[kind] - value > STATED_LOSS
    ]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config-file", required=True, metavar="FILE")
    parser.add_argument("--json", required=True, metavar="FILE", help="annotations (COCO)")
    parser.add_argument("--images", required=True, metavar="DIR", help="folder of the images")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("--weights", nargs="+", default=list(WEIGHTS), choices=WEIGHTS)
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="overrides of the config")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()

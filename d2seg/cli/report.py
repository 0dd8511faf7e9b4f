"""``d2seg report``: measure stored detections and show them on a page."""

import argparse
from pathlib import Path

from d2seg.cli.arguments import output_folder

EPILOG = """\
Detections are COCO results, as a COCOEvaluator writes them: a training leaves those of the data set
NAME in inference/NAME/coco_instances_results.json. The output folder gets index.html (average
precision, precision-recall curves, confusion matrix, worst images), report.json (all numbers) and
pictures/.

example:
  d2seg report --json instances_val.json --images val/ --output report \\
      --detections output/inference/my_val/coco_instances_results.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``d2seg report``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("--json", required=True, metavar="FILE", help="annotations (COCO)")
    parser.add_argument("--detections", required=True, metavar="FILE", help="COCO results")
    parser.add_argument(
        "--images", required=True, type=Path, metavar="DIR", help="folder of the images"
    )
    parser.add_argument(
        "--output", required=True, type=output_folder, metavar="DIR", help="output folder"
    )
    parser.add_argument("--title", default="", help="heading of the page")
    parser.add_argument(
        "--iou-type",
        choices=["segm", "bbox"],
        help="compare masks or boxes (default: masks if the detections have any)",
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        metavar="SCORE",
        help="which detections count in the confusion matrix and the pictures "
        "(default: where F1 is highest)",
    )
    parser.add_argument(
        "--pictures",
        type=int,
        default=12,
        metavar="N",
        help="how many images to draw (default: 12)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and write; return the exit code."""
    import json
    import sys

    from d2seg.report.evaluation import guess_iou_type, read_detections, write_evaluation_report

    if not args.images.is_dir():
        raise FileNotFoundError(f"There is no image folder '{args.images}'.")
    detections = read_detections(args.detections)
    iou_type = args.iou_type or guess_iou_type(detections)
    page = write_evaluation_report(
        args.output,
        ground_truth=args.json,
        detections=detections,
        image_root=args.images,
        title=args.title,
        iou_type=iou_type,
        max_pictures=args.pictures,
        score_threshold=args.score_threshold,
    )
    report = json.loads(page.with_name("report.json").read_text(encoding="utf-8"))
    for warning in report["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    for name in ("AP", "AP50", "AP75"):
        value = report["average_precision"][name]
        print(f"{iou_type} {name:<5} {'undefined' if value is None else f'{value:.3f}'}")
    print(f"Open {page} in a browser.")
    return 0

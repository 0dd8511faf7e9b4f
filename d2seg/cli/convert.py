"""``d2seg convert``: move weights between toolboxes."""

import argparse

from d2seg.cli.arguments import add_unsafe, output_file

EPILOG = """\
The input is recognised by its names: detectron2 (.pth, .pkl, .safetensors), Detectron and Caffe2
(.pkl), maskrcnn-benchmark (.pth), torchvision's Faster, Mask and Keypoint R-CNN (.pth), and ResNets
of torchvision and timm. Beside the output a .yaml with the config that goes with it is written.

examples:
  d2seg convert maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth --output mask_rcnn.pth
  d2seg convert e2e_mask_rcnn.pkl --output mask_rcnn.safetensors
  d2seg convert model_final.pth --to torchvision --config-file config.yaml --output for_tv.pth
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``d2seg convert``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("input", metavar="IN", help="weight file, or an address of one")
    parser.add_argument(
        "--output",
        required=True,
        type=output_file,
        metavar="OUT",
        help="file to write: .pth, .pkl or .safetensors",
    )
    parser.add_argument(
        "--to",
        choices=["detectron2", "torchvision"],
        default="detectron2",
        help="whose names it gets (default: detectron2)",
    )
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="the model's config: a file or a model zoo name (default: one made from the file)",
    )
    parser.add_argument(
        "--norm-eps",
        type=float,
        metavar="EPS",
        help="what the backbone's norms add to the variance (default: 1e-5, and 0 for "
        "torchvision's first published detectors)",
    )
    add_unsafe(parser)
    parser.add_argument("--all", action="store_true", help="list every name, not a few of a kind")


def run(args: argparse.Namespace) -> int:
    """Convert and print the report; return the exit code."""
    from d2seg.convert import convert

    report = convert(
        args.input,
        args.output,
        to=args.to,
        config_file=args.config_file,
        norm_eps=args.norm_eps,
    )
    print(report.text(args.all))
    return 0

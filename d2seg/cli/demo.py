"""``d2seg demo``: everything d2seg does, on one page."""

import argparse
import time

from d2seg.cli.arguments import add_config_file, add_overrides, output_folder

EPILOG = """\
Without options the shipped model finds nuclei in the shipped microscope images. The output folder
gets index.html (one file that shows everything), overlays/, instances.json and images.json (COCO),
features/ and mobile_optimized.ptl.

example, a model and images of your own:
  d2seg demo --config-file config.yaml --input photos/ --output out MODEL.WEIGHTS model_final.pth
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``d2seg demo``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "--output",
        type=output_folder,
        default="demo_output",
        metavar="DIR",
        help="output folder (default: demo_output)",
    )
    parser.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        help="images, folders, glob patterns (default: the shipped images)",
    )
    add_config_file(parser, default="the shipped model")
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Run the demo; return 0, or 1 when the mobile file differs from the model."""
    start = time.perf_counter()
    print("d2seg demo: loading the model", flush=True)
    from d2seg.assets import DEMO_CONFIG_FILE, DEMO_IMAGES
    from d2seg.cli.progress import track
    from d2seg.config import load_config
    from d2seg.images import find_images
    from d2seg.report.demo import Demo
    from d2seg.report.demo_page import write_demo_page
    from d2seg.report.facts import config_name

    paths = find_images(args.input or [DEMO_IMAGES])
    config_file = args.config_file or DEMO_CONFIG_FILE
    cfg = load_config(config_file, args.opts)
    demo = Demo(cfg, config_file, args.opts, paths, args.output)

    print(f"1/4 instances of {len(paths)} image(s) with {config_name(config_file)}", flush=True)
    demo.find_instances(track(range(len(paths)), "instances"))
    print(
        f"    {demo.instance_count} with a score of 50% or more, "
        f"{demo.seconds_per_image:.2f} s per image"
    )
    print("2/4 features by name", flush=True)
    demo.extract_features(track(range(len(paths)), "features"))
    print("3/4 mobile file: export, load again, compare", flush=True)
    agrees = demo.export_mobile()
    print(f"    it {'finds the same instances' if agrees else 'DIFFERS from the model'}")
    print("4/4 page", flush=True)
    page = write_demo_page(demo)

    print(f"Done in {time.perf_counter() - start:.0f} s. In {args.output}/:")
    for file in demo.page.files:
        print(f"    {file.path:<24} {file.size:>9}  {file.what}")
    print(f"Open {page} in a browser.")
    return 0 if agrees else 1

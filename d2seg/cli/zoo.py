"""``d2seg zoo``: published models and where their files are."""

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d2seg.zoo import ZooModel

EPILOG = """\
Of the published configs of detectron2, and of zoo files of others: one YAML file each, given by
--zoo or always by the variable D2SEG_ZOO; docs/zoo.md has its form. A download that broke off goes
on where it ended, and is checked.

examples:
  d2seg zoo list --trained
  d2seg zoo search mask R_50
  d2seg zoo show COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x
  d2seg zoo fetch COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x
  d2seg zoo fetch wheat/mask_rcnn_R_50_FPN --zoo https://example.org/wheat/zoo.yaml
  d2seg zoo cache
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``d2seg zoo``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = _add_action(actions, "list", "name all models, and say which have weights")
    listing.add_argument("--trained", action="store_true", help="only models with weights")
    search = _add_action(actions, "search", "name the models whose name or description has words")
    search.add_argument("words", nargs="+", metavar="WORD")
    show = _add_action(actions, "show", "say what is known of a model")
    show.add_argument("name", metavar="NAME")
    fetch = _add_action(actions, "fetch", "download the weights of a model, and say where they are")
    fetch.add_argument("name", metavar="NAME")
    fetch.add_argument("--force", action="store_true", help="download again what is there")
    actions.add_parser("cache", help="say where downloads are kept, and which there are")


def run(args: argparse.Namespace) -> int:
    """Do what is asked for and print; return the exit code."""
    if args.action == "cache":
        return _print_cache()
    from d2seg.zoo import all_models, find_model, search_models

    models = all_models(args.zoo)
    if args.action == "list":
        return _print_models([one for one in models.values() if one.weights or not args.trained])
    if args.action == "search":
        return _print_models(search_models(models.values(), args.words))
    model = find_model(models, args.name)
    return _print_model(model) if args.action == "show" else _fetch(model, args.force)


def _add_action(actions: Any, name: str, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary)
    parser.add_argument(
        "--zoo", action="append", default=[], metavar="FILE", help="a zoo file, or its address"
    )
    return parser


def _print_models(models: "Sequence[ZooModel]") -> int:
    from d2seg.zoo import is_here

    width = max((len(model.name) for model in models), default=0)
    for model in models:
        weights = "downloaded" if is_here(model) else "weights" if model.weights else "-"
        print(f"{model.name:{width}}  {weights:10}  {model.description}".rstrip())
    if not models:
        print("no model")
    return 0 if models else 1


def _print_model(model: "ZooModel") -> int:
    from d2seg.zoo import is_here

    checksum = "not known before the first download"
    if model.checksum is not None:
        more = "" if len(model.checksum.digits) > 6 else "..."
        checksum = f"{model.checksum.algorithm} {model.checksum.digits}{more}"
    rows = {"name": model.name, "zoo": model.zoo, "config": model.config}
    rows["weights"] = model.weights or "none published"
    if model.weights:
        rows["checksum"] = checksum
        rows["downloaded"] = "yes" if is_here(model) else "no"
    if model.description:
        rows["about"] = model.description
    for label, value in rows.items():
        print(f"{label:10}  {value}")
    return 0


def _fetch(model: "ZooModel", force: bool) -> int:
    from d2seg.zoo import fetch_model

    fetched = fetch_model(model, force)
    print(f"config   {fetched.config}")
    if fetched.weights is None:
        print("weights  none published: the config names what a training starts from")
        return 0
    print(f"weights  {fetched.weights}")
    print(f"         {fetched.weights.stat().st_size / 1e6:.1f} MB, sha256 {fetched.sha256}")
    files = shlex.join(["--config-file", str(fetched.config)])
    print(f"use them with  {files} ... MODEL.WEIGHTS {shlex.quote(str(fetched.weights))}")
    return 0


def _print_cache() -> int:
    from d2seg.zoo import list_cache

    folder, entries = list_cache()
    print(f"{folder} (the variable FVCORE_CACHE names another folder)")
    for entry in entries:
        note = "" if entry.is_complete else "  not complete: fetch it again, and it goes on"
        print(f"{entry.num_bytes / 1e6:9.1f} MB  {entry.name}{note}")
    return 0

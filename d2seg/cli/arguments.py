"""Options that several subcommands share."""

import argparse
import re
from pathlib import Path

_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z][A-Z0-9_]*)+")
"""A config key, such as MODEL.WEIGHTS."""


def add_config_file(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Declare ``--config-file``, required unless the help names a default, and ``--unsafe``."""
    note = f" (default: {default})" if default else ""
    parser.add_argument(
        "--config-file",
        required=default is None,
        metavar="FILE",
        help=f"config: a file or a model zoo name{note}",
    )
    add_unsafe(parser)


def add_unsafe(parser: argparse.ArgumentParser) -> None:
    """Declare ``--unsafe``, for a command that reads weights; `d2seg.cli.main` heeds it."""
    parser.add_argument(
        "--unsafe",
        action="store_true",
        help="let the files of weights run any code they contain, as you; see docs/security.md",
    )


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Declare the ``KEY VALUE`` pairs at the end."""
    # Not REMAINDER: that would swallow an option which follows a KEY VALUE pair.
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config overrides, at the end")


def move_overrides(args: argparse.Namespace) -> None:
    """Take the overrides out of a list option that they follow directly, in place.

    argparse gives ``--input photos MODEL.WEIGHTS model.pth`` three inputs. A value that looks like
    a config key, and is not an existing path, begins the overrides.
    """
    for name, values in vars(args).items():
        if name == "opts" or not isinstance(values, list):
            continue
        for index, value in enumerate(values[1:], start=1):
            if _KEY.fullmatch(str(value)) and not Path(value).exists():
                setattr(args, name, values[:index])
                args.opts = values[index:] + args.opts
                break

"""Options that several subcommands share."""

import argparse
import errno
import re
from pathlib import Path
from typing import Any

_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z][A-Z0-9_]*)+")
"""A config key, such as MODEL.WEIGHTS."""


def output_folder(text: str) -> Path:
    """Take the name of a folder to write to, as the ``type`` of an option; it need not exist.

    Raises:
        OSError: A file is in the way, or nothing can be written there. That is told before any
            work is done.
    """
    from d2seg.core.runtime.files import require_writable

    require_writable(text)
    return Path(text)


def output_file(text: str) -> Path:
    """Take the name of a file to write, as the ``type`` of an option.

    Raises:
        OSError: A folder has that name, or as of :func:`output_folder`.
    """
    path = Path(text)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; name a file.", text)
    output_folder(str(path.parent))
    return path


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


def add_model(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Declare what makes a predictor, and ``--unsafe``; :func:`model_options` reads it."""
    parser.add_argument(
        *("--model", "--config-file"),
        dest="model",
        nargs="+" if several else None,
        metavar="FILE",
        help="config, model zoo name or exported file (default: the shipped model)",
    )
    parser.add_argument(
        *("--weights", "--ckpt"),
        dest="weights",
        default="",
        metavar="FILE",
        help="checkpoint of a config (default: MODEL.WEIGHTS)",
    )
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, ... (default: MODEL.DEVICE; cpu for a file)"
    )
    parser.add_argument(
        *("--mean-pixel", "--mean_pixel"),
        type=float,
        nargs=3,
        metavar="VALUE",
        help="MODEL.PIXEL_MEAN, in the order of INPUT.FORMAT",
    )
    add_unsafe(parser)


def add_resizing(parser: argparse.ArgumentParser) -> None:
    """Declare how images are resized; :func:`model_options` reads it."""
    group = parser.add_mutually_exclusive_group()
    for name, metavar, help_text in (
        ("fit-max", ("SCALE", "MAX"), "shorter edge SCALE, longer edge at most MAX"),
        ("fit-window", ("H", "W"), "as large as fits into H x W"),
        ("size", ("H", "W"), "stretched to H x W"),
    ):
        group.add_argument(
            *dict.fromkeys((f"--{name}", f"--{name.replace('-', '_')}")),
            type=int,
            nargs=2,
            metavar=metavar,
            help=f"resize images: {help_text} (default: as the model's config says)",
        )


def model_options(args: argparse.Namespace, model: str | None) -> dict[str, Any]:
    """Return keyword arguments of :class:`d2seg.predict.Predictor`, its source among them.

    Args:
        args: With what :func:`add_model` and :func:`add_resizing` declare.
        model: The source; None for the shipped one.
    """
    from d2seg.assets import DEMO_CONFIG_FILE
    from d2seg.predict import fit_shortest_edge, fit_window, stretch

    fits = {"fit_max": fit_shortest_edge, "fit_window": fit_window, "size": stretch}
    chosen = [fit(*getattr(args, name)) for name, fit in fits.items() if getattr(args, name)]
    mean = ["MODEL.PIXEL_MEAN", args.mean_pixel] if args.mean_pixel else []
    return {
        "source": model or DEMO_CONFIG_FILE,
        "weights": args.weights,
        "overrides": [*args.opts, *mean],
        "device": args.device,
        "resize": chosen[0] if chosen else None,
    }


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
            if isinstance(value, str) and _KEY.fullmatch(value) and not Path(value).exists():
                setattr(args, name, values[:index])
                args.opts = values[index:] + args.opts
                break


def describe_strange(args: argparse.Namespace, strange: list[str]) -> str:
    """Say what is wrong with arguments that argparse has left over.

    It takes the ``KEY VALUE`` pairs of one place only.
    """
    if getattr(args, "opts", None) and not any(word.startswith("-") for word in strange):
        return (
            f"config overrides go together, at the end: move {args.opts[0]} and what follows it "
            f"to {strange[0]}"
        )
    return f"unrecognized arguments: {' '.join(strange)}"

"""The ``d2seg`` command: finds the subcommand, runs it, and turns errors into one line.

Each subcommand is a module of this package with ``add_arguments(parser)`` and ``run(args) -> int``.
Only the one that is asked for is imported, and it imports nothing heavy before it runs, so that
``--help`` answers at once.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from types import ModuleType

from d2seg import __version__
from d2seg.cli.arguments import describe_strange, move_overrides

COMMANDS = {
    "demo": "run the shipped model on the shipped images and write a page that shows everything",
    "check-data": "read a data set in COCO's format and say what is wrong with it",
    "train": "train a model, and evaluate it",
    "predict": "find objects in images, videos or a camera, and show or write them",
    "evaluate": "measure on annotated images what models are worth, and compare them",
    "features": "write intermediate features of a model for images",
    "export": "write a model as a mobile file and verify it",
    "convert": "move weights between detectron2, torchvision and other toolboxes",
    "zoo": "list published models, and download them",
    "inspect": "say what is in an exported file and which runtimes load it",
    "report": "measure stored detections and show curves, confusions and the worst images",
    "benchmark": "compare in one run how fast it is",
    "doctor": "say what is installed, which framework serves, and whether it works",
}

USER_ERRORS = (ValueError, KeyError, TypeError, ImportError, OSError, FloatingPointError)
"""What the project raises for bad input; anything else is a defect and keeps its traceback."""

DEBUG_VARIABLE = "D2SEG_DEBUG"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments after the command's name; ``sys.argv`` when None.

    Returns:
        The exit code: 0, or 1 after an error, told in one line on stderr. ``D2SEG_DEBUG=1`` shows
        the traceback instead. 141, as of other tools, if nobody reads the output any more; 130
        after Ctrl-C and 143 after SIGTERM, which both leave nothing half-written.

    Raises:
        SystemExit: With code 2 for arguments that cannot be parsed, 0 after ``--help``.
    """
    try:
        try:
            with _termination_interrupts():
                return _run(sys.argv[1:] if argv is None else list(argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # as after ``| head``
        # What is left unwritten would fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # what a shell makes of SIGPIPE


def _run(arguments: list[str]) -> int:
    try:
        parser = _build_parser(_find_command(arguments))
        parsed, strange = parser.parse_known_args(arguments)
        if strange:
            parser.error(describe_strange(parsed, strange))
        move_overrides(parsed)
        with _unsafe_if_asked(parsed):
            return int(_command_module(parsed.command).run(parsed))
    except USER_ERRORS as error:
        if isinstance(error, BrokenPipeError):
            print(flush=True)  # fails again, if it is the output that nobody reads
        if os.environ.get(DEBUG_VARIABLE, "0") not in {"", "0"}:
            raise
        print(f"d2seg: error: {describe_error(error)}", file=sys.stderr)
        return 1
    except _Terminated:
        print("d2seg: terminated", file=sys.stderr)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        print("d2seg: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: what is half-written is removed."""


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """Raise `_Terminated` at SIGTERM, unless the program around has an answer of its own."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    process = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() == process:
            raise _Terminated
        # A process forked from this one, which has nothing of its own to remove.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def describe_error(error: BaseException) -> str:
    """Return an exception's message on one line, without Python's decoration of it."""
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename:
        message = f"'{error.filename}' is a file, but a folder is needed there; name another."
    elif isinstance(error, OSError) and error.strerror:
        message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, KeyError) and len(error.args) == 1:
        message = str(error.args[0])  # str(KeyError) puts the message in quotes
    else:
        message = str(error)
    return " ".join(message.split()) or type(error).__name__


def _find_command(arguments: Sequence[str]) -> str | None:
    """Return the subcommand named first; no option before it takes a value."""
    first = next((a for a in arguments if not a.startswith("-")), None)
    return first if first in COMMANDS else None


def _build_parser(command: str | None) -> argparse.ArgumentParser:
    """Make the parser, with the arguments of ``command`` only."""
    parser = argparse.ArgumentParser(
        prog="d2seg", description="Instance segmentation with detectron2's configs and checkpoints."
    )
    parser.add_argument("--version", action="version", version=f"d2seg {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        subparser = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        if name == command:
            _command_module(name).add_arguments(subparser)
    return parser


def _unsafe_if_asked(parsed: argparse.Namespace) -> AbstractContextManager[None]:
    if not getattr(parsed, "unsafe", False):
        return nullcontext()
    from d2seg.core.runtime.untrusted.unsafe import unsafe_files

    print(
        "d2seg: --unsafe: files of weights may run any code they contain, as you", file=sys.stderr
    )
    return unsafe_files()


def _command_module(name: str) -> ModuleType:
    return import_module(f"d2seg.cli.{name.replace('-', '_')}")

"""Where log lines go when a program, not a library, is running."""

import logging
import os
import sys
from pathlib import Path

OWN_NAMES = ("d2seg", "detectron2")
"""The framework's loggers; the second is that of programs written for detectron2."""

_FORMAT = "[%(asctime)s %(name)s]: %(levelname)s %(message)s"
_RED, _GREEN, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[0m"


def setup_logger(
    output: str | os.PathLike[str] | None = None,
    distributed_rank: int = 0,
    *,
    color: bool = True,
    name: str = "d2seg",
    abbrev_name: str | None = None,
    enable_propagation: bool = False,
    configure_stdout: bool = True,
) -> logging.Logger:
    """Send the lines of a logger and those below it to the terminal and to a file.

    A second call with the same arguments adds nothing. ``d2seg`` and ``detectron2`` are set up
    together: lines of the framework itself come from the first, those of programs written for
    detectron2 often from the second.

    Args:
        output: A file (a name that ends in ``.txt`` or ``.log``) or a folder, in which it becomes
            ``log.txt``. None for no file. Processes after the first append ``.rank<N>``.
        distributed_rank: The number of this process; only process 0 writes to the terminal.
        color: Colours on the terminal, if it is one.
        name: The logger.
        abbrev_name: What its lines call it; None: its name. Empty: only the part below it.
        enable_propagation: Hand lines to the loggers above, too.
        configure_stdout: Write to the terminal.

    Returns:
        The logger.
    """
    for each in OWN_NAMES if name in OWN_NAMES else (name,):
        logger = logging.getLogger(each)
        logger.setLevel(logging.INFO)
        logger.propagate = enable_propagation
        known = {handler.get_name() for handler in logger.handlers}
        short = each if abbrev_name is None else abbrev_name
        if configure_stdout and distributed_rank == 0 and "terminal" not in known:
            colored = color and sys.stdout.isatty()
            _add(logger, _Terminal(sys.stdout), "terminal", short, colored)
        if output is not None:
            file = _log_file(Path(output), distributed_rank)
            if str(file) not in known:
                file.parent.mkdir(parents=True, exist_ok=True)
                _add(logger, _LogFile(file, encoding="utf-8"), str(file), short)
    return logging.getLogger(name)


class _Terminal(logging.StreamHandler):
    """Says nothing if nobody reads the lines any more, as after ``| head``; the work goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Take note of what went wrong in writing a line."""
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)


class _LogFile(logging.FileHandler):
    """Says once that the file cannot be written, in place of a traceback for each line."""

    _told = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Take note of what went wrong in writing a line; the program goes on."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._told:
            self._told = True
            reason = error.strerror or str(error)
            print(f"'{self.baseFilename}' cannot be written: {reason}.", file=sys.stderr)


class _Formatter(logging.Formatter):
    """Writes a logger's name in short, and on a terminal in colours."""

    def __init__(self, root: str, short: str, colored: bool) -> None:
        name_and_time, rest = _FORMAT.split("]: ")
        frame = f"{_GREEN}{name_and_time}]{_PLAIN}: {rest}" if colored else _FORMAT
        super().__init__(frame, datefmt="%m/%d %H:%M:%S")
        self._root, self._short, self._colored = root, short, colored

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Put the parts of a line together."""
        full = record.name
        record.name = (self._short + full.removeprefix(self._root)).lstrip(".")
        try:
            line = super().formatMessage(record)
        finally:
            record.name = full
        loud = self._colored and record.levelno >= logging.WARNING
        return (
            line.replace(record.levelname, f"{_RED}{record.levelname}{_PLAIN}", 1) if loud else line
        )


def _add(
    logger: logging.Logger,
    handler: logging.Handler,
    name: str,
    short: str,
    colored: bool = False,
) -> None:
    handler.set_name(name)
    handler.setFormatter(_Formatter(logger.name, short, colored))
    logger.addHandler(handler)


def _log_file(output: Path, rank: int) -> Path:
    file = output if output.suffix in {".txt", ".log"} else output / "log.txt"
    return file.with_name(f"{file.name}.rank{rank}") if rank > 0 else file

"""Where log lines go when a program, not a library, is running."""

import logging
import sys
from pathlib import Path

_FORMAT = "[%(asctime)s %(name)s]: %(levelname)s %(message)s"


def setup_logger(
    output: str | Path | None = None,
    distributed_rank: int = 0,
    *,
    name: str = "d2seg",
) -> logging.Logger:
    """Send the lines of a logger and those below it to the terminal and to a file.

    A second call with the same arguments adds nothing.

    Args:
        output: A file (a name that ends in ``.txt`` or ``.log``) or a folder, in which it becomes
            ``log.txt``. None for no file. Processes after the first append ``.rank<N>``.
        distributed_rank: The number of this process; only process 0 writes to the terminal.
        name: The logger.

    Returns:
        The logger.
    """
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    known = {handler.get_name() for handler in logger.handlers}
    if distributed_rank == 0 and "terminal" not in known:
        _add(logger, logging.StreamHandler(sys.stdout), "terminal")
    if output is not None:
        file = _log_file(Path(output), distributed_rank)
        if str(file) not in known:
            file.parent.mkdir(parents=True, exist_ok=True)
            _add(logger, logging.FileHandler(file, encoding="utf-8"), str(file))
    return logger


def _add(logger: logging.Logger, handler: logging.Handler, name: str) -> None:
    handler.set_name(name)
    handler.setFormatter(logging.Formatter(_FORMAT, datefmt="%m/%d %H:%M:%S"))
    logger.addHandler(handler)


def _log_file(output: Path, rank: int) -> Path:
    file = output if output.suffix in {".txt", ".log"} else output / "log.txt"
    return file.with_name(f"{file.name}.rank{rank}") if rank > 0 else file

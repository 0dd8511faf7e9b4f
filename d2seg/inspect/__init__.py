"""What an exported file is, what it asks of a runtime, and why one does not load it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from d2seg.core.runtime.untrusted.programs import UnreadableFileError
from d2seg.inspect.contents import Contents
from d2seg.inspect.readers import READERS, Reader, read_contents
from d2seg.inspect.runtimes import INSTALLED, LAST_ANDROID, known_runtimes, load_runtime

__all__ = [
    "INSTALLED",
    "LAST_ANDROID",
    "READERS",
    "Contents",
    "Inspection",
    "Reader",
    "UnreadableFileError",
    "Verdict",
    "inspect_artefact",
    "known_runtimes",
]


@dataclass(frozen=True)
class Verdict:
    """Whether a runtime loads a file.

    Attributes:
        runtime: As in ``torch 2.1.0``.
        obstacles: A sentence for each reason why not; empty when it does.
    """

    runtime: str
    obstacles: list[str]

    @property
    def loads(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.obstacles


@dataclass(frozen=True)
class Inspection:
    """What can be said of a file without running it.

    Attributes:
        path: The file.
        num_bytes: Its size, with that of the ``.bin`` of an ``.xml``.
        contents: What it holds.
        verdicts: For each version that was asked for, ``installed`` among them, whether that
            runtime loads it. A file that torch does not run has the one of the runtime that does.
    """

    path: Path
    num_bytes: int
    contents: Contents
    verdicts: dict[str, Verdict]


def inspect_artefact(
    path: str | os.PathLike[str], runtimes: Sequence[str] = (INSTALLED, LAST_ANDROID)
) -> Inspection:
    """Look into an exported file, and say which runtimes load it.

    The operators and the format are compared with what a version of torch has. The torch that is
    installed here loads the file besides.

    Args:
        path: A ``.ptl``, ``.ts``, ``.pte``, ``.onnx`` or ``.xml``, of this or another project.
        runtimes: Versions that there is a table for, such as ``2.1.0``, or ``installed``.

    Raises:
        FileNotFoundError: There is no such file.
        UnreadableFileError: It is no such file, or is truncated or damaged; says which.
        ValueError: There is no table for a version.
    """
    tables = {name: load_runtime(name) for name in runtimes}
    contents = read_contents(path)
    verdicts = {}
    num_bytes = _size(Path(path))
    if contents.own_runtime():
        verdict = Verdict(contents.own_runtime(), _try_to_load(contents, Path(path)))
        return Inspection(Path(path), num_bytes, contents, {INSTALLED: verdict})
    for name, table in tables.items():
        obstacles = contents.find_obstacles(table)
        if name == INSTALLED and not obstacles:
            obstacles = _try_to_load(contents, Path(path))
        verdicts[name] = Verdict(table.name, obstacles)
    return Inspection(Path(path), num_bytes, contents, verdicts)


def _size(path: Path) -> int:
    """Return the bytes of a file, and of the weights beside a graph of OpenVINO."""
    weights = path.with_suffix(".bin")
    beside = path.suffix.lower() == ".xml" and weights.is_file()
    return path.stat().st_size + (weights.stat().st_size if beside else 0)


def _try_to_load(contents: Contents, path: Path) -> list[str]:
    try:
        contents.load(path)
    except (RuntimeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line for line in lines if line), type(error).__name__)
        return [f"It was refused: {reason.rstrip('.:')}."]
    return []

"""Reads files in a process of its own, and reports what became of it; see `main`.

python -m tests.core.runtime.untrusted.watch FOLDER [SEED COUNT]
"""

import copyreg
import json
import random
import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from d2seg.core.checkpoint.files import read_checkpoint
from d2seg.core.config import CfgNode
from d2seg.inspect.archive import read_archive
from tests.core.runtime.untrusted.hostile import EXTENSION
from tests.core.runtime.untrusted.mutations import mutate

FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "exec")
FORBIDDEN += ("pickle.find_class", "socket.connect", "ctypes.dlopen", "os.remove", "os.mkdir")
"""Events of Python's audit that no reader of data has a reason for."""

ROOM = 2**29
"""Bytes of address space beyond what the process has when the reading begins."""


READERS: dict[str, Callable[[str], Any]] = {
    ".yaml": CfgNode.load_yaml_with_base,
    ".ptl": read_archive,
}


def read(path: Path) -> str:
    """Read a file as what its suffix says; return why it was refused, or nothing."""
    try:
        READERS.get(path.suffix, read_checkpoint)(str(path))
    except ValueError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError) or "can't allocate" in str(cause):
                raise MemoryError(f"{path.name} took memory before it was refused") from error
            cause = cause.__cause__ or cause.__context__
        return str(error)
    return ""


def mutants(folder: Path, seed: int, count: int) -> Iterator[Path]:
    """Write one after the other of the files that mutations make of those of a folder."""
    files = sorted(folder.iterdir())
    generator = random.Random(seed)
    for number in range(count):
        path = files[number % len(files)]
        target = folder.parent / f"mutant{path.suffix}"
        target.touch()
        with target.open("r+b") as file:  # a file that begins anew is written to the disk each time
            file.write(mutate(path, generator))
            file.truncate()
        yield target


def watch(paths: Iterable[Path]) -> dict[str, Any]:
    """Read files and say what happened.

    Returns:
        ``reasons``: file name to why it was refused, empty where it was loaded; ``outcomes``: how
        many were, by suffix; ``events``: forbidden ones; ``megabytes``: by how much the peak of
        memory grew.
    """
    events: list[str] = []
    sys.addaudithook(lambda event, _: events.append(event) if event in FORBIDDEN else None)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the most there was
    before, size = _memory("VmRSS"), _memory("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
    reasons: dict[str, str] = {}
    outcomes: Counter[str] = Counter()
    for path in paths:
        reasons[path.name] = read(path)
        outcomes[f"{path.suffix} {'refused' if reasons[path.name] else 'loaded'}"] += 1
        if reasons[path.name] and not _is_sentence(reasons[path.name]):
            raise AssertionError(f"no sentence about {path.name}: {reasons[path.name]!r:.500}")
    megabytes = (_memory("VmHWM") - before) / 1e6
    return {
        "reasons": reasons,
        "outcomes": outcomes,
        "events": events,
        "megabytes": megabytes,
    }


def _is_sentence(reason: str) -> bool:
    return "\n" not in reason and reason.endswith(".") and len(reason) < 1000


def _memory(kind: str) -> int:
    """Return bytes of memory: ``VmRSS`` is what is taken now, ``VmHWM`` the most there was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def main() -> None:
    """Print the report as JSON, about the files of a folder, or about mutants of them."""
    folder = Path(sys.argv[1])
    copyreg.add_extension("os", "system", EXTENSION)
    import_module("encodings.cp437")  # of names in archives
    for path in (folder.parent / "warm").iterdir():  # what is imported late is imported now
        read(path)
    files: Iterable[Path] = sorted(folder.iterdir())
    if len(sys.argv) > 2:
        files = mutants(folder, int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps(watch(files)))


if __name__ == "__main__":
    main()

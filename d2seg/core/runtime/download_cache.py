"""The folder of downloads: each file once, with its checksum beside it."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from iopath.common.file_io import HTTPURLHandler, file_lock, get_cache_dir

from d2seg.core.runtime.checksum import Checksum, hash_of
from d2seg.core.runtime.download import Progress, download

PUBLISHED_HOST = "dl.fbaipublicfiles.com"
"""Of this host alone files lie where detectron2 itself keeps them, without the host in the path."""

RECORD_SUFFIX = ".sha256"
SHA256_DIGITS = 64

known_checksums: dict[str, Checksum] = {}
"""What is known of files by their address, for every download and every later use of the file."""

_checked: set[tuple[Path, Checksum | None]] = set()
"""Files that this process has checked, and against what."""

logger = logging.getLogger(__name__)


def cache_folder(folder: str | None = None) -> Path:
    """Return where downloads are kept: ``$FVCORE_CACHE``, by default ``~/.torch/iopath_cache``.

    Args:
        folder: Take this one instead.
    """
    return Path(get_cache_dir(folder))


def cached_path(address: str, folder: str | None = None) -> Path:
    """Return where the file of an http(s) address is kept, whether it is there or not."""
    parsed = urlsplit(address)
    parts = [part for part in parsed.path.split("/") if part not in ("", ".", "..")]
    if parsed.query:  # one path, many files; the name keeps its suffix
        safe = "".join(sign if sign.isalnum() else "_" for sign in parsed.query)
        parts.insert(-1, safe[-100:])
    port = f"_{parsed.port}" if parsed.port else ""
    host = [] if parsed.hostname == PUBLISHED_HOST else [f"{parsed.hostname}{port}"]
    return cache_folder(folder).joinpath(*host, *parts)


def fetch(
    address: str,
    *,
    force: bool = False,
    checksum: Checksum | None = None,
    folder: str | None = None,
) -> Path:
    """Return the local file of an http(s) address, downloading it if it is not there.

    The SHA-256 of what was downloaded is written beside it (``sha256sum -c`` reads it), and the
    file is compared with it when a process first uses it.

    Args:
        address: http or https.
        force: Download it again.
        checksum: What the file must have too; by default what `known_checksums` says.
        folder: As of `cache_folder`.

    Raises:
        FileNotFoundError, ConnectionError, OSError: As of `download`.
        ValueError: The file has another checksum than is known of it, or than it had.
    """
    path = cached_path(address, folder)
    checksum = checksum or known_checksums.get(address)
    if (path, checksum) in _checked and path.is_file() and not force:
        return path
    with file_lock(str(path)):
        if force or not path.is_file():
            logger.info("Downloading %s ...", address)
            _record_of(path).unlink(missing_ok=True)  # it is of another file from now on
            with _shown(path.name) as progress:
                download(address, path, checksum, progress)
            _record(path)
        else:
            _check(path, address, checksum)
    _checked.add((path, checksum))
    return path


class DownloadHandler(HTTPURLHandler):
    """Serves http(s) addresses from the folder of downloads."""

    def _get_local_path(
        self, path: str, force: bool = False, cache_dir: str | None = None, **kwargs: Any
    ) -> str:
        self._check_kwargs(kwargs)
        if not path.startswith(("http://", "https://")):
            return str(super()._get_local_path(path, force, cache_dir))
        return str(fetch(path, force=force, folder=cache_dir))


def _record_of(path: Path) -> Path:
    return path.with_name(path.name + RECORD_SUFFIX)


def _record(path: Path) -> None:
    record = _record_of(path)
    temporary = record.with_name(f".{record.name}-{os.getpid()}")
    temporary.write_text(f"{hash_of(path)}  {path.name}\n", encoding="utf-8")
    temporary.replace(record)


def _recorded(path: Path) -> Checksum | None:
    record = _record_of(path)
    digits = record.read_text(encoding="utf-8").partition(" ")[0] if record.is_file() else ""
    return Checksum("sha256", digits) if len(digits) == SHA256_DIGITS else None


def _check(path: Path, address: str, known: Checksum | None) -> None:
    """Compare a file with what is known of it; a file without a record gets one."""
    recorded = _recorded(path)
    try:
        for checksum in dict.fromkeys((known, recorded)):
            if checksum is not None:
                checksum.check(path, f"'{path}'")
    except ValueError as error:
        raise ValueError(f"{error} Delete it, and it is downloaded again from {address}.") from None
    if recorded is None:
        _record(path)


@contextmanager
def _shown(name: str) -> Iterator[Progress]:
    """Show how a download goes on, where stderr is a terminal."""
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    options: dict[str, Any] = {"transient": True, "disable": not console.is_terminal}
    with progress.Progress(*columns, console=console, **options) as bar:
        task = bar.add_task(name, start=False, total=None)

        def show(done: int, total: int | None) -> None:
            if not bar.tasks[0].started:  # what was there before is no part of the speed
                bar.reset(task, total=total, completed=done)
            bar.update(task, completed=done, total=total)

        yield show

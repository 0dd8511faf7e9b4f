"""Paths, addresses and writing files so that a killed run leaves no half of one."""

import errno
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from iopath.common.file_io import OneDrivePathHandler, PathHandler
from iopath.common.file_io import PathManager as IOPathManager

from d2seg.core.runtime.download_cache import DownloadHandler

ZOO_ADDRESS = "https://dl.fbaipublicfiles.com/detectron2/"
"""Where detectron2 publishes its weights; ``detectron2://`` is short for it."""


def find_config_folder(package: Path) -> Path:
    """Return the folder of published configs: in an installed package, or beside it."""
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


_TEMPORARY = re.compile(r"\.(?P<stem>.+)-[a-z0-9_]{8}(?P<suffix>\.[^.]+)?")
"""The names that `replace_when_complete` gives to files that are not complete."""

_DISK_TROUBLES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

_PACKAGE = Path(__file__).resolve().parents[2]

CONFIG_FOLDER = find_config_folder(_PACKAGE)


class PrefixHandler(PathHandler):
    """Serves ``prefix://rest`` from ``target + rest``, an address or a folder."""

    def __init__(self, prefix: str, target: str) -> None:
        super().__init__()
        self.prefix = prefix
        self.target = target

    def _get_supported_prefixes(self) -> list[str]:
        return [self.prefix]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return PathManager.get_local_path(self.target + path[len(self.prefix) :], **kwargs)

    def _open(self, path: str, mode: str = "r", **kwargs: Any) -> Any:
        return PathManager.open(self._get_local_path(path), mode, **kwargs)

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return os.path.exists(self._get_local_path(path))

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return os.path.isfile(self._get_local_path(path))


PathManager = IOPathManager()
"""The project's own path manager: local files, http(s) addresses, and the following prefixes.

``detectron2://`` is what detectron2 publishes, ``d2seg://`` what the package ships, ``configs://``
the folder of published configs.
"""

PathManager.register_handler(DownloadHandler())
PathManager.register_handler(OneDrivePathHandler())
PathManager.register_handler(PrefixHandler("detectron2://", ZOO_ADDRESS))
PathManager.register_handler(PrefixHandler("d2seg://", f"{_PACKAGE / 'assets'}{os.sep}"))
PathManager.register_handler(PrefixHandler("configs://", f"{CONFIG_FOLDER}{os.sep}"))


@contextmanager
def replace_when_complete(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it to ``path`` when the block succeeds.

    The parent folder is made. When the block raises, the temporary file is removed, as are folders
    that were made for it and are empty, and an existing ``path`` stays as it was. The content is on
    the disk before the name is: after a power cut too there is the earlier file or the whole new
    one.

    Args:
        path: The file to write.

    Yields:
        The path to write to; its suffix is that of ``path``.
    """
    target = Path(path)
    made = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _replacing(target) as temporary:
            yield temporary
    except BaseException:
        _remove_empty(made)
        raise


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(
        prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent
    )
    temporary = Path(name)
    try:
        with os.fdopen(handle, "rb") as opened:
            lock_until_closed(opened)
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            _flush(temporary)
        temporary.replace(target)
    except OSError as error:
        name_file(error, target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(folder: str | os.PathLike[str]) -> None:
    """Make sure that files can be written to a folder, which need not exist.

    Raises:
        OSError: A file is in the way, or nothing can be written there.
    """
    path = Path(folder)
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        reason = f"nothing can be written there ({error.strerror}); name another folder."
        raise OSError(error.errno, reason, os.fspath(folder)) from error


def name_file(error: OSError, path: str | os.PathLike[str]) -> None:
    """Let an error of a disk, which does not say what was being written, name the file."""
    if error.errno in _DISK_TROUBLES and error.filename is None:
        error.filename = os.fspath(path)


def remove_unfinished(folder: str | os.PathLike[str], pattern: str) -> list[Path]:
    """Remove the temporary files that killed programs left in a folder.

    Those that a running program writes stay, as does everything on a system without file locks.

    Args:
        folder: Where files were written by `replace_when_complete`; it need not exist.
        pattern: Regular expression; only temporary files of names that match it are removed.

    Returns:
        What was removed, in order of name.
    """
    left = [path for path in Path(folder).glob(".*") if _is_unfinished(path, pattern)]
    return [path for path in sorted(left) if _remove_if_abandoned(path)]


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return what a JSON file holds.

    Args:
        path: A file, or an address that the path manager knows.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no JSON, or nested deeper than Python goes.
    """
    with PathManager.open(os.fspath(path), encoding="utf-8") as file:
        try:
            return json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"'{path}' is not a JSON file: {error}.") from error


def _is_unfinished(path: Path, pattern: str) -> bool:
    parts = _TEMPORARY.fullmatch(path.name)
    if parts is None or not path.is_file():
        return False
    return re.fullmatch(pattern, parts["stem"] + (parts["suffix"] or "")) is not None


def _remove_if_abandoned(path: Path) -> bool:
    try:
        with path.open("rb") as opened:
            abandoned = lock_until_closed(opened)
            if abandoned:
                path.unlink()
    except OSError:  # somebody else's file, or removed by another program just now
        return False
    return abandoned


def lock_until_closed(opened: IO[bytes]) -> bool:
    """Lock a file until it is closed or the program ends.

    Returns:
        Whether that was possible: not where another program holds it, nor without file locks.
    """
    if os.name != "posix":
        return False
    import fcntl

    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the innermost first, up to one that somebody has put something into."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _flush(path: Path) -> None:
    with path.open("rb+") as opened:
        os.fsync(opened.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

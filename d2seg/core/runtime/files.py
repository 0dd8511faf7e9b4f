"""Paths, addresses and writing files so that a killed run leaves no half of one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from iopath.common.file_io import HTTPURLHandler, OneDrivePathHandler, PathHandler
from iopath.common.file_io import PathManager as IOPathManager

ZOO_ADDRESS = "https://dl.fbaipublicfiles.com/detectron2/"
"""Where detectron2 publishes its weights; ``detectron2://`` is short for it."""


def find_config_folder(package: Path) -> Path:
    """Return the folder of published configs: in an installed package, or beside it."""
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


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

PathManager.register_handler(HTTPURLHandler())
PathManager.register_handler(OneDrivePathHandler())
PathManager.register_handler(PrefixHandler("detectron2://", ZOO_ADDRESS))
PathManager.register_handler(PrefixHandler("d2seg://", f"{_PACKAGE / 'assets'}{os.sep}"))
PathManager.register_handler(PrefixHandler("configs://", f"{CONFIG_FOLDER}{os.sep}"))


@contextmanager
def replace_when_complete(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it to ``path`` when the block succeeds.

    The parent folder is made. When the block raises, the temporary file is removed and an existing
    ``path`` stays as it was.

    Args:
        path: The file to write.

    Yields:
        The path to write to; its suffix is that of ``path``.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

"""What has been downloaded."""

from pathlib import Path
from typing import NamedTuple

from d2seg.core.runtime.download import PART_SUFFIX
from d2seg.core.runtime.download_cache import RECORD_SUFFIX, cache_folder

HELPERS = (".lock", RECORD_SUFFIX, f"{PART_SUFFIX}.json")


class CachedFile(NamedTuple):
    """A download: its place in the folder of downloads, its size, and whether it is whole."""

    name: str
    num_bytes: int
    is_complete: bool


def list_cache() -> tuple[Path, list[CachedFile]]:
    """Return the folder of downloads and what is in it, by name."""
    folder = cache_folder()
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return folder, [
        CachedFile(
            path.relative_to(folder).as_posix().removesuffix(PART_SUFFIX),
            path.stat().st_size,
            not path.name.endswith(PART_SUFFIX),
        )
        for path in files
        if not path.name.endswith(HELPERS)
    ]

"""Bringing a model of a zoo to the local disk."""

from pathlib import Path
from typing import NamedTuple

from d2seg.core.runtime.checksum import Checksum, hash_of
from d2seg.core.runtime.download_cache import cached_path, fetch
from d2seg.framework import PathManager
from d2seg.zoo.models import ZooModel
from d2seg.zoo.zoo_file import WEB


class Fetched(NamedTuple):
    """Local files of a model.

    Attributes:
        config: The config.
        weights: None where the model has none.
        sha256: Of the weights; empty without.
    """

    config: Path
    weights: Path | None
    sha256: str


def fetch_model(model: ZooModel, force: bool = False) -> Fetched:
    """Download what of a model is not here yet.

    Args:
        model: From a zoo.
        force: Download it again.

    Raises:
        FileNotFoundError: A file, or an address, is not there.
        ConnectionError: An address cannot be reached.
        ValueError: The weights have another checksum than the zoo says, or than they had.
    """
    config = local_file(model.config, force)
    if not model.weights:
        return Fetched(config, None, "")
    weights = local_file(model.weights, force, model.checksum)
    return Fetched(config, weights, hash_of(weights))


def is_here(model: ZooModel) -> bool:
    """Tell whether the weights of a model are on the disk."""
    if model.weights.startswith(WEB):
        return cached_path(model.weights).is_file()
    return bool(model.weights) and Path(model.weights).is_file()


def local_file(address: str, force: bool = False, checksum: Checksum | None = None) -> Path:
    """Return the local file of an address or a path, as `fetch_model` does for all of a model."""
    if address.startswith(WEB):
        return fetch(address, force=force, checksum=checksum)
    path = Path(PathManager.get_local_path(address)) if "://" in address else Path(address)
    if not path.is_file():
        raise FileNotFoundError(f"No file at '{address}', which the zoo names.")
    if checksum is not None:
        checksum.check(path, f"'{path}'")
    return path

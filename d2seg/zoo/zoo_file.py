"""A zoo of one's own: one YAML file.

::

    zoo: wheat-lab
    models:
      wheat/mask_rcnn_R_50_FPN:
        config: wheat.yaml  # beside this file; or an address, or configs://NAME of a published one
        weights: https://example.org/wheat/model_final.pth  # or beside this file
        sha256: 9f2c...  # of the weights; may be left out
        description: Heads of wheat in photographs of fields, mask AP 41
"""

import difflib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from d2seg.core.runtime.checksum import Checksum
from d2seg.core.runtime.download_cache import cached_path, fetch, known_checksums
from d2seg.core.runtime.untrusted.yaml_texts import load_plain_yaml
from d2seg.zoo.models import ZooModel, published_models

VARIABLE = "D2SEG_ZOO"
"""Names zoo files that are always read, with spaces between them."""

FIELDS = ("config", "weights", "sha256", "description")
WEB = ("http://", "https://")


def all_models(zoo_files: Sequence[str] = ()) -> dict[str, ZooModel]:
    """Return the models of the published zoo, of ``D2SEG_ZOO`` and of these files, by name.

    Raises:
        FileNotFoundError, ConnectionError, ValueError: As of `read_zoo`; or two have one name.
    """
    known = {model.name: model for model in published_models()}
    for zoo_file in dict.fromkeys([*_always(), *zoo_files]):
        for model in read_zoo(zoo_file):
            if model.name in known:
                raise ValueError(
                    f"The zoos '{known[model.name].zoo}' and '{model.zoo}' both have a model "
                    f"'{model.name}'; rename one."
                )
            known[model.name] = model
    return known


def find_listed(name: str) -> ZooModel | None:
    """Return the model of this name, with or without ``.yaml``, in the zoos of ``D2SEG_ZOO``.

    Raises:
        FileNotFoundError, ConnectionError, ValueError: As of `read_zoo`.
    """
    models = (model for zoo_file in _always() for model in read_zoo(zoo_file))
    return next((model for model in models if model.name == name.removesuffix(".yaml")), None)


def read_zoo(source: str) -> list[ZooModel]:
    """Read the models of a zoo file; its checksums hold from then on for all downloads.

    Args:
        source: The file, or its address; the copy of an earlier use serves without a network.

    Raises:
        FileNotFoundError: There is no such file.
        ConnectionError: It is an address that cannot be reached and was not used before.
        ValueError: It is no zoo file; the message says what is wrong where.
    """
    path = _newest(source) if source.startswith(WEB) else Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"No zoo file at '{source}'.")
    try:
        content = load_plain_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"The zoo file '{source}' {error}.") from error
    models = content.get("models") if isinstance(content, dict) else None
    if not isinstance(models, dict) or not models:
        raise ValueError(f"The zoo file '{source}' has no 'models', names with their entries.")
    zoo = str(content.get("zoo", path.stem))
    base = source if source.startswith(WEB) else str(path.absolute())
    return [_model(str(name), entry, zoo, base) for name, entry in models.items()]


def _always() -> list[str]:
    return shlex.split(os.environ.get(VARIABLE, ""), posix=os.name == "posix")


def _newest(address: str) -> Path:
    try:
        return fetch(address, force=True)
    except ConnectionError:
        earlier = cached_path(address)
        if not earlier.is_file():
            raise
        return earlier


def _model(name: str, entry: Any, zoo: str, base: str) -> ZooModel:
    where = f"The model '{name}' of the zoo '{zoo}'"
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise ValueError(f"{where} must have texts under {', '.join(FIELDS)}, found {entry!r:.80}.")
    for field in entry:
        if field not in FIELDS:
            nearest = difflib.get_close_matches(str(field), FIELDS, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise ValueError(f"{where} has the unknown entry '{field}'.{hint}")
    if "config" not in entry:
        raise ValueError(f"{where} has no config.")
    weights = _resolve(entry.get("weights", ""), base)
    checksum = _checksum(entry, where)
    if checksum is not None and weights.startswith(WEB):
        known_checksums.setdefault(weights, checksum)
    config = _resolve(entry["config"], base)
    return ZooModel(
        name.removesuffix(".yaml"), config, weights, checksum, entry.get("description", ""), zoo
    )


def _checksum(entry: Mapping[str, str], where: str) -> Checksum | None:
    if "sha256" not in entry:
        return None
    digits = entry["sha256"].lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError(f"{where} has the sha256 '{digits:.80}', expected 64 hexadecimal digits.")
    return Checksum("sha256", digits)


def _resolve(item: str, base: str) -> str:
    """Return a file or address that is relative to the zoo file as an absolute one."""
    if not item or "://" in item:
        return item
    if base.startswith(WEB):
        return urljoin(base, item)
    return str(Path(base).parent / Path(item).expanduser())

"""Models of a zoo: a config, and weights trained with it."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from d2seg.core.model_zoo.published import TRAINED, trained_address
from d2seg.core.runtime.checksum import Checksum
from d2seg.core.runtime.download_cache import known_checksums
from d2seg.core.runtime.files import CONFIG_FOLDER

PUBLISHED = "published"
"""The name of the zoo of published configs."""


@dataclass(frozen=True)
class ZooModel:
    """A model of a zoo.

    Attributes:
        name: Without ``.yaml``; differs from that of every other model.
        config: A file or an address.
        weights: A file or an address; empty where none are published.
        checksum: Of the weights; None where it is not known.
        description: In a sentence; may be empty.
        zoo: Where the model is listed.
    """

    name: str
    config: str
    weights: str = ""
    checksum: Checksum | None = None
    description: str = ""
    zoo: str = PUBLISHED


def published_models() -> list[ZooModel]:
    """List the published configs by name, with the weights that detectron2 trained with them."""
    paths = sorted(CONFIG_FOLDER.rglob("*.yaml"))
    models = []
    for path in paths:
        name = path.relative_to(CONFIG_FOLDER).with_suffix("").as_posix()
        if not path.name.startswith("Base-"):
            weights = trained_address(name) if name in TRAINED else ""
            models.append(ZooModel(name, str(path), weights, known_checksums.get(weights)))
    return models


def find_model(models: Mapping[str, ZooModel], name: str) -> ZooModel:
    """Return a model by its name, with or without ``.yaml``.

    Raises:
        ValueError: There is none; the message names the nearest.
    """
    wanted = name.removesuffix(".yaml")
    if wanted in models:
        return models[wanted]
    below = [known for known in models if known.endswith(f"/{wanted}")]
    if len(below) == 1:
        return models[below[0]]
    nearest = below or difflib.get_close_matches(wanted, models, n=3, cutoff=0.3)
    hint = f" The nearest are {', '.join(nearest)}." if nearest else ""
    raise ValueError(f"No model zoo has a model '{name}'.{hint}")


def search_models(models: Iterable[ZooModel], words: Sequence[str]) -> list[ZooModel]:
    """Return the models whose name or description has all words, whatever their case."""
    wanted = [word.casefold() for word in words]
    return [
        model
        for model in models
        if all(word in f"{model.name} {model.description}".casefold() for word in wanted)
    ]

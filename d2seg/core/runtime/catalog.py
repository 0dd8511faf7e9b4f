"""Data sets by name: how to load them, and what is known about them."""

import difflib
from collections import UserDict
from collections.abc import Callable, Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from d2seg.core.runtime.errors import InvalidArgumentError, MetadataConflictError
from d2seg.core.runtime.files import PathManager, read_json

_LISTED = 10


class _DatasetCatalog(UserDict[str, Callable[[], list[dict[str, Any]]]]):
    """Names of data sets to functions that load them."""

    def register(self, name: str, func: Callable[[], list[dict[str, Any]]]) -> None:
        """Make a data set known; it is loaded only when asked for.

        Args:
            name: Such as ``nuclei_val``.
            func: Returns one dict per image, the same on every call.

        Raises:
            TypeError: ``func`` cannot be called.
            InvalidArgumentError: There is a data set of this name.
        """
        if not callable(func):
            raise TypeError(
                f"Data set '{name}' has to be registered with a function that loads it; "
                f"found a {type(func).__name__}."
            )
        if name in self.data:
            raise InvalidArgumentError(
                f"Data set '{name}' is registered already; choose another name, or call "
                f"DatasetCatalog.remove('{name}') first."
            )
        self.data[name] = func

    def get(self, name: str) -> list[dict[str, Any]]:  # type: ignore[override]
        """Load a data set.

        Raises:
            KeyError: There is no data set of this name.
        """
        return self[name]()

    def list(self) -> list[str]:
        """Return the names of all data sets."""
        return list(self.data)

    def remove(self, name: str) -> None:
        """Forget a data set.

        Raises:
            KeyError: There is no data set of this name.
        """
        del self[name]

    def __missing__(self, name: str) -> Any:
        raise KeyError(_unknown_name(name, self.data))

    def __delitem__(self, name: str) -> None:
        if name not in self.data:
            self.__missing__(name)
        del self.data[name]


class Metadata(SimpleNamespace):
    """What is known about a data set: class names, files, colours. A value can be set only once.

        metadata = MetadataCatalog.get("nuclei_val").set(thing_classes=["nucleus"])
        metadata.thing_classes

    That two parts of a program believe different things about one data set is an error here, not
    a surprise later.
    """

    __slots__ = ("_promised",)  # beside the values, which are in __dict__

    name: str = "N/A"

    def __init__(self, **values: Any) -> None:
        self._promised: dict[str, Callable[[], dict[str, Any]]] = {}
        super().__init__(**values)

    def __getattr__(self, key: str) -> Any:
        if key in self._promised:
            return self._read(key)
        known = ", ".join(sorted(self.__dict__)) or "nothing"
        raise AttributeError(
            f"Nothing is known about '{key}' of data set '{self.name}'; known: {known}."
        )

    def __setattr__(self, key: str, value: Any) -> None:
        if key in self.__dict__ and self.__dict__[key] != value:
            raise MetadataConflictError(
                f"'{key}' of data set '{self.name}' is {self.__dict__[key]!r} already and cannot "
                f"become {value!r}; use another data set name, or MetadataCatalog.remove first."
            )
        super().__setattr__(key, value)

    def as_dict(self) -> dict[str, Any]:
        """Return everything that is known, as a new dict."""
        return dict(self.__dict__)

    def set(self, **values: Any) -> "Metadata":
        """Set several values and return self.

        Raises:
            MetadataConflictError: One of them is known already with another value.
        """
        for key, value in values.items():
            setattr(self, key, value)
        return self

    def promise(self, keys: Iterable[str], read: Callable[[], dict[str, Any]]) -> "Metadata":
        """Name values that are in a file, which is read when the first of them is asked for.

        Args:
            keys: Their names. What is set in the meantime is kept.
            read: Returns all of them by name; FileNotFoundError means that they are not known.

        Returns:
            Self.
        """
        self._promised.update(dict.fromkeys(keys, read))
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or ``default`` if it is not known."""
        if key in self._promised:
            return getattr(self, key, default)
        return self.__dict__.get(key, default)

    def _read(self, key: str) -> Any:
        try:
            values = self._promised[key]()
        except FileNotFoundError as error:
            raise AttributeError(f"'{key}' of data set '{self.name}': {error}") from error
        for name, value in values.items():
            self._promised.pop(name, None)
            self.__dict__.setdefault(name, value)
        return self.__dict__[key]


class _MetadataCatalog(UserDict[str, Metadata]):
    """Names of data sets to what is known about them."""

    def get(self, name: str) -> Metadata:  # type: ignore[override]
        """Return the metadata of this name, new and empty the first time."""
        if name not in self.data:
            self.data[name] = Metadata(name=name)
        return self.data[name]

    def list(self) -> list[str]:
        """Return the names that something is known about."""
        return list(self.data)

    def remove(self, name: str) -> None:
        """Forget what is known about a data set.

        Raises:
            KeyError: There is nothing of this name.
        """
        if name not in self.data:
            raise KeyError(_unknown_name(name, self.data))
        del self.data[name]


def _unknown_name(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=3)
    if nearest:
        return f"There is no data set '{name}'; did you mean {' or '.join(map(repr, nearest))}?"
    listed = ", ".join(names[:_LISTED]) or "none"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"There is no data set '{name}'. Known: {listed}{more}."


DatasetCatalog = _DatasetCatalog()
"""The data sets of this process."""

MetadataCatalog = _MetadataCatalog()
"""What this process knows about data sets."""


def get_fed_loss_cls_weights(
    dataset_names: str | Sequence[str], freq_weight_power: float = 1.0
) -> Tensor:
    """Weigh classes by how many images they are in, for the federated loss (arXiv:2103.07461).

    Args:
        dataset_names: The first one's metadata must have ``class_image_count``, a list of dicts
            with ``id``, from 1, and ``image_count``; or ``json_file``, an annotation file whose
            categories have them, as those of LVIS do.
        freq_weight_power: Exponent of the counts.

    Returns:
        (K,) float, by rising id.

    Raises:
        ValueError: Nothing is known about the counts.
    """
    name = dataset_names if isinstance(dataset_names, str) else next(iter(dataset_names), "")
    counts = MetadataCatalog.get(name).get("class_image_count") or _counts_in_file(name)
    if not counts:
        raise ValueError(
            f"The federated loss needs 'class_image_count' in the metadata of data set '{name}' "
            "(DATASETS.TRAIN), or an 'image_count' of every category in its annotation file; set "
            "it, or set MODEL.ROI_BOX_HEAD.USE_FED_LOSS to False."
        )
    by_id = sorted(counts, key=lambda one: one["id"])
    return torch.tensor([float(one["image_count"]) for one in by_id]) ** freq_weight_power


def _counts_in_file(name: str) -> list[dict[str, Any]]:
    """Read in how many images the classes of a data set are, and keep it in its metadata."""
    metadata = MetadataCatalog.get(name)
    path = metadata.get("json_file")
    if not path or not PathManager.isfile(path):
        return []
    categories = read_json(path).get("categories", [])
    if not categories or any("image_count" not in one for one in categories):
        return []
    by_id = sorted(categories, key=lambda one: one["id"])
    # A file of LVIS has more than a gigabyte, and each stage of a cascade asks for the counts.
    metadata.class_image_count = [
        {"id": one["id"], "image_count": one["image_count"]} for one in by_id
    ]
    return metadata.class_image_count

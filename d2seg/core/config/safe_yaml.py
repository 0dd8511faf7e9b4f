"""Reading YAML config files without ever running what is written in them."""

import itertools
import os
import posixpath
from collections.abc import Callable, Iterator
from typing import IO, Any, NoReturn

import yaml

from d2seg.core.config.size_table import read_size_table
from d2seg.core.runtime.untrusted.yaml_texts import (
    MOST_CHARACTERS,
    PlainLoader,
    RefusedTextError,
    parse_yaml,
)

BASE_KEY = "_BASE_"

MOST_FILES = 100
"""Ten files that name the next one ten times lead to billions."""

_PYTHON_TAG = "tag:yaml.org,2002:python/"


class ConfigLoader(PlainLoader):
    """A safe loader that also reads tuples and the anchor sizes of RetinaNet's published config."""

    def construct_tuple(self, node: yaml.Node) -> tuple[Any, ...]:
        """Return the items of a sequence tagged as a Python tuple."""
        if not isinstance(node, yaml.SequenceNode):
            self.refuse(node)
        return tuple(self.construct_sequence(node, deep=True))

    def construct_anchor_sizes(self, node: yaml.Node) -> list[list[float]]:
        """Return the numbers that a table comprehension stands for; refuse any other expression."""
        texts = self.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else []
        table = read_size_table(texts[0]) if len(texts) == 1 and isinstance(texts[0], str) else None
        if table is None:
            self.refuse(node)
        return table

    def refuse(self, node: yaml.Node) -> NoReturn:
        """Raise an error that names the tag of ``node``."""
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")[:100]
        raise RefusedTextError(
            f"has the tag '{tag}' at line {node.start_mark.line + 1}, which could run code or "
            "means nothing in a config; write the plain value instead"
        )


ConfigLoader.add_constructor(_PYTHON_TAG + "tuple", ConfigLoader.construct_tuple)
ConfigLoader.add_constructor(_PYTHON_TAG + "object/apply:eval", ConfigLoader.construct_anchor_sizes)
ConfigLoader.add_constructor(None, ConfigLoader.refuse)


def load_config_tree(
    filename: str,
    open_file: Callable[[str], IO[Any]],
    included_by: tuple[str, ...] = (),
    numbers: Iterator[int] | None = None,
) -> dict[str, Any]:
    """Read a YAML mapping and everything it inherits through ``_BASE_``.

    Args:
        filename: A file or address that ``open_file`` understands; ``~`` is the home folder.
        open_file: Opens it for reading text.
        included_by: The files whose ``_BASE_`` led here, outermost first.
        numbers: Counts the files that are read.

    Returns:
        Nested dicts without ``_BASE_``; values of a file win over those of its bases, later bases
        over earlier ones.

    Raises:
        FileNotFoundError: The file or one of its bases does not exist.
        ValueError: Not YAML, not a mapping, a refused tag, aliases that multiply, or bases that go
            in a circle or to very many files.
    """
    filename = os.path.expanduser(filename)
    if filename in included_by:
        circle = " -> ".join((*included_by[included_by.index(filename) :], filename))
        raise ValueError(f"The {BASE_KEY} of config files goes in a circle: {circle}.")
    numbers = numbers or itertools.count(1)
    if next(numbers) > MOST_FILES:
        raise ValueError(f"The {BASE_KEY} of '{filename}' leads to more than {MOST_FILES} files.")
    tree = _parse(_read(filename, open_file, included_by), filename)
    bases = tree.pop(BASE_KEY, [])
    merged: dict[str, Any] = {}
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or not base:
            raise ValueError(
                f"{BASE_KEY} of config file '{filename}' must name a file, found {base!r:.100}."
            )
        base_name = _resolve_base(base, filename)
        base_tree = load_config_tree(base_name, open_file, (*included_by, filename), numbers)
        _merge(base_tree, merged, filename)
    _merge(tree, merged, filename)
    return merged


def _read(filename: str, open_file: Callable[[str], IO[Any]], included_by: tuple[str, ...]) -> str:
    origin = f", the {BASE_KEY} of '{included_by[-1]}'," if included_by else ""
    try:
        with open_file(filename) as stream:
            return str(stream.read(MOST_CHARACTERS + 1))
    except UnicodeDecodeError as error:
        raise ValueError(f"Config file '{filename}' is not a text file, so not YAML.") from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Config file '{filename}'{origin} does not exist.") from error
    except OSError as error:
        raise FileNotFoundError(
            f"Config file '{filename}'{origin} cannot be read: {error}."
        ) from error


def _parse(text: str, filename: str) -> dict[str, Any]:
    try:
        tree = parse_yaml(text, ConfigLoader)
    except ValueError as error:
        raise ValueError(f"Config file '{filename}' {error}.") from error
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else f"a {type(tree).__name__}"
        raise ValueError(
            f"Config file '{filename}' must hold a mapping of config keys, found {found}."
        )
    return tree


def _resolve_base(base: str, filename: str) -> str:
    """Return the file or address that ``base`` means when written in ``filename``."""
    base = os.path.expanduser(base)
    if os.path.isabs(base) or "://" in base:
        return base
    scheme, separator, path = filename.rpartition("://")
    return scheme + separator + posixpath.normpath(posixpath.join(posixpath.dirname(path), base))


def _merge(tree: dict[str, Any], into: dict[str, Any], filename: str) -> None:
    for key, value in tree.items():
        if isinstance(value, dict) and key in into:
            if not isinstance(into[key], dict):
                raise ValueError(
                    f"Config file '{filename}' gives keys below '{key}', which in its {BASE_KEY} "
                    "is a single value."
                )
            _merge(value, into[key], filename)
        else:
            into[key] = value

"""Reading YAML without tags that construct anything, and without aliases that multiply."""

from typing import Any

import yaml

MOST_CHARACTERS = 500_000
MOST_VALUES = 100_000
"""What a text may stand for; a few lines of aliases to lists of aliases stand for billions."""

_LONGEST_NUMBER = 100


class RefusedTextError(ValueError):
    """A text is YAML, and is not read all the same; the message, after its name, says why."""


class PlainLoader(yaml.SafeLoader):
    """A safe loader of texts that stand for about as much as they hold."""

    def __init__(self, text: str) -> None:
        if len(text) > MOST_CHARACTERS:
            raise RefusedTextError(f"is longer than {MOST_CHARACTERS:,} characters")
        super().__init__(text)

    def get_single_node(self) -> yaml.Node | None:
        """Return the parsed text.

        Raises:
            RefusedTextError: Aliases multiply it, or lead into themselves.
        """
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _count_values(node, {})
        return node

    def construct_yaml_int(self, node: Any) -> int:
        """Return a number; groups of sixty, as YAML has them, take for ever to work out."""
        if len(node.value) > _LONGEST_NUMBER:
            raise RefusedTextError(f"has a number of {len(node.value):,} digits")
        return int(super().construct_yaml_int(node))


PlainLoader.add_constructor("tag:yaml.org,2002:int", PlainLoader.construct_yaml_int)


def load_plain_yaml(text: str) -> Any:
    """Return what a YAML text holds: numbers, texts, dates, lists and dicts.

    Raises:
        RefusedTextError: It is too long, its aliases multiply it, or a number has many digits.
        ValueError: It is not YAML, is nested deeply, or has a tag that would construct something.
    """
    return parse_yaml(text, PlainLoader)


def parse_yaml(text: str, loader: type[PlainLoader]) -> Any:
    """Do the same with a loader of one's own."""
    try:
        return yaml.load(text, loader)
    except RefusedTextError:
        raise
    except Exception as error:  # values that do not fit their tag end in any type of error
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ValueError(f"is not valid YAML{where}: {' '.join(problem.split())[:200]}") from error


def _count_values(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for, each alias counted as often as it is used."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise RefusedTextError("has an alias inside of what it stands for")
        return known[id(node)]
    known[id(node)] = 0
    parts = node.value if isinstance(node, yaml.CollectionNode) else []
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in parts for part in pair]
    known[id(node)] = 1 + sum(_count_values(part, known) for part in parts)
    if known[id(node)] > MOST_VALUES:
        raise RefusedTextError(f"stands for more than {MOST_VALUES:,} values")
    return known[id(node)]

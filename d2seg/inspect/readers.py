"""How files of each format are looked into; another format adds a reader of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from d2seg.export.description import ModelDescription
from d2seg.inspect.archive import read_archive, why_not_a_zip
from d2seg.inspect.runtimes import Runtime
from d2seg.inspect.verdicts import find_obstacles


@dataclass(frozen=True)
class Contents:
    """What a file holds, whatever its format.

    Attributes:
        format: ``ptl``, ``ts`` or what another reader reads.
        bytecode_version: Version of its instructions; None where the format has none.
        operators: Names with overloads, to the number of arguments; 0 where that is not known.
        classes: Classes of a runtime that it needs.
        stored: How many numbers it holds, by type.
        description: What d2seg wrote into it; None for a file of somebody else.
        find_obstacles: Says what keeps a runtime from loading it.
    """

    format: str
    bytecode_version: int | None
    operators: dict[str, int]
    classes: list[str]
    stored: dict[str, int]
    description: ModelDescription | None

    def find_obstacles(self, runtime: Runtime) -> list[str]:
        """Return a sentence for each reason why a runtime of torch cannot load it."""
        return find_obstacles(self.bytecode_version, self.operators, self.classes, runtime)


Reader = Callable[[Path], Contents]
"""Looks into a file; raises UnreadableFileError with a sentence where it cannot."""

"""What the readers of all formats return."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2seg.core.runtime.untrusted.programs import require_pure_program
from d2seg.export.description import ModelDescription
from d2seg.inspect.runtimes import Runtime
from d2seg.inspect.verdicts import find_obstacles


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        format: ``ptl``, ``ts``, or what another reader reads.
        bytecode_version: Version of its instructions; None where the format has none.
        operators: Names with overloads, to the number of arguments; 0 where that is not known.
        classes: Classes of a runtime that it needs.
        stored: How many numbers it holds, by type.
        description: What d2seg wrote into it; None for a file of somebody else.
    """

    format: str
    bytecode_version: int | None
    operators: dict[str, int]
    classes: list[str]
    stored: dict[str, int]
    description: ModelDescription | None

    def find_obstacles(self, runtime: Runtime) -> list[str]:
        """Return a sentence for each reason why a runtime of torch cannot load the file."""
        return find_obstacles(self.bytecode_version, self.operators, self.classes, runtime)

    def own_runtime(self) -> str:
        """Name the runtime of the format, where that is not torch; else nothing."""
        return ""

    def load(self, path: Path) -> None:
        """Load the file as a user would, into the runtime of its format.

        Raises:
            RuntimeError: The runtime refuses it.
            ValueError: It would read or write files.
        """
        from d2seg.export.torchscript import load_lite

        require_pure_program(path)
        if self.format == "ptl":
            load_lite(path)
        else:
            load_script(path)


def load_script(path: Path) -> Any:
    """Load a file of ``torch.jit.save`` to the CPU."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is dep", DeprecationWarning)
        return torch.jit.load(os.fspath(path), map_location="cpu")

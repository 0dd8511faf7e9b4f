"""What the runtimes of several torch versions can run: a table for each."""

from importlib import resources
from typing import NamedTuple

LAST_ANDROID = "2.1.0"
"""The last version that a runtime for Android was published of."""

INSTALLED = "installed"
"""Stands for the torch that is installed here, with torchvision's operators."""


class Runtime(NamedTuple):
    """What one version of torch can run.

    Attributes:
        name: As in ``torch 2.1.0``.
        operators: Name with overload to the number of arguments it takes.
        bytecode: The oldest and the newest version of instructions that it reads.
        has_xnnpack: Whether it loads weights that were prepacked for XNNPACK.
    """

    name: str
    operators: dict[str, int]
    bytecode: tuple[int, int]
    has_xnnpack: bool


def known_runtimes() -> list[str]:
    """List the versions that there is a table for, oldest first."""
    names = (entry.name for entry in resources.files(__name__).iterdir())
    versions = [
        name.removeprefix("torch-").removesuffix(".txt") for name in names if name.endswith(".txt")
    ]
    return sorted(versions, key=lambda version: [int(part) for part in version.split(".")])


def load_runtime(version: str) -> Runtime:
    """Read the table of a version, or ask the torch that is installed.

    Args:
        version: One of :func:`known_runtimes`, or ``installed``.

    Raises:
        ValueError: There is no table for the version.
    """
    if version == INSTALLED:
        return _installed_runtime()
    if version not in known_runtimes():
        raise ValueError(
            f"There is no table of the operators of torch {version}; there are those of "
            f"{', '.join(known_runtimes())}, and 'installed' for the torch that is installed."
        )
    text = (resources.files(__name__) / f"torch-{version}.txt").read_text(encoding="utf-8")
    return _parse(f"torch {version}", text)


def _parse(name: str, text: str) -> Runtime:
    lines = [line.split(" ") for line in text.splitlines() if not line.startswith("#")]
    (_, oldest, newest), (_, has_xnnpack), *tables = lines
    operators = {}
    for operator, *overloads in tables:
        for overload, _, count in (text.rpartition("/") for text in overloads):
            operators[f"{operator}.{overload}" if overload else operator] = int(count)
    return Runtime(name, operators, (int(oldest), int(newest)), has_xnnpack == "1")


def _installed_runtime() -> Runtime:
    import torch
    import torchvision  # noqa: F401 (it registers its operators)

    operators = {}
    for schema in torch._C._jit_get_all_schemas():
        overload = f".{schema.overload_name}" if schema.overload_name else ""
        operators[schema.name + overload] = len(schema.arguments)
    # No release since 1.8 has read other versions; a table says what its release's headers say.
    name = f"torch {torch.__version__} (installed)"
    return Runtime(name, operators, (4, 9), torch._C._is_xnnpack_enabled())

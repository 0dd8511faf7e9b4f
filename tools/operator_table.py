#!/usr/bin/env python
"""Print the operators of the torch that runs this, for ``d2seg inspect``.

Needs nothing but torch, of any version, and belongs into its environment:

    python tools/operator_table.py > d2seg/inspect/runtimes/torch-2.1.0.txt
"""

import re
from collections import defaultdict
from pathlib import Path

import torch

NAMESPACES = ("aten", "prepacked", "prim", "quantized")
"""What exported files may use; the others serve compilers, GPUs and tests."""


def bytecode_versions() -> tuple[int, int]:
    """Read the oldest and the newest bytecode that this torch loads from its headers."""
    header = Path(torch.__file__).parent / "include" / "caffe2" / "serialize" / "versions.h"
    text = header.read_text(encoding="utf-8")
    oldest, newest = (
        re.search(rf"k{which}SupportedBytecodeVersion = (0x[0-9A-Fa-f]+)L", text)
        for which in ("Min", "Max")
    )
    if oldest is None or newest is None:
        raise ValueError(f"'{header}' does not say which bytecode versions are supported.")
    return int(oldest[1], 16), int(newest[1], 16)


def operators() -> dict[str, dict[str, int]]:
    """Return for each name its overloads, and how many arguments each takes."""
    table: dict[str, dict[str, int]] = defaultdict(dict)
    for schema in torch._C._jit_get_all_schemas():
        if schema.name.partition("::")[0] in NAMESPACES:
            table[schema.name][schema.overload_name] = len(schema.arguments)
    return table


def main() -> None:
    """Print the table."""
    version = torch.__version__.partition("+")[0]
    oldest, newest = bytecode_versions()
    print(
        f"# torch {version}, made by tools/operator_table.py. Each line: a name, and its overloads"
    )
    print("# with the number of their arguments; the overload without a name begins with the /.")
    print(f"bytecode {oldest} {newest}")
    print(f"xnnpack {int(torch._C._is_xnnpack_enabled())}")
    for name, overloads in sorted(operators().items()):
        print(name, *(f"{overload}/{count}" for overload, count in sorted(overloads.items())))


if __name__ == "__main__":
    main()

"""What is in a file of ExecuTorch (``.pte``), read without ExecuTorch."""

import importlib.util
import mmap
import struct
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from d2seg.core.runtime.untrusted.programs import UnreadableFileError
from d2seg.export.description import ModelDescription
from d2seg.export.executorch import quiet_start, read_pte_description
from d2seg.inspect.contents import Contents
from d2seg.inspect.flatbuffer import Table

MAGIC = b"ET12"
"""Of the format; it stands behind the first four bytes."""
HEADER = struct.Struct("<4sIQQQ")
"""Behind the magic: ``eh00``, its length, the size of the program, where the weights begin, and how
long they are."""

# Numbers of fields in ExecuTorch's schema/program.fbs.
_EXECUTION_PLANS = 1  # of a program
_NAME, _OPERATORS, _DELEGATES, _BUFFER_SIZES = 0, 6, 7, 8  # of a plan
_OPERATOR_NAME, _OVERLOAD = 0, 1
_BACKEND = 0  # of a delegate


@dataclass(frozen=True)
class PteContents(Contents):
    """What a file of ExecuTorch holds.

    Attributes:
        backends: Libraries that run parts of it, such as ``XnnpackBackend``, to the number of
            parts. The operators are those of the rest.
        planned_bytes: Memory for what lies between the parts, weights and backends aside.
    """

    backends: dict[str, int]
    planned_bytes: int

    def own_runtime(self) -> str:
        """Name ExecuTorch and its version; without one it is not installed."""
        if importlib.util.find_spec("executorch") is None:
            return "ExecuTorch"
        return f"ExecuTorch {version('executorch')}"

    def load(self, path: Path) -> None:
        """Load the program and its weights into ExecuTorch.

        Raises:
            ValueError: ExecuTorch is not installed, or lacks what the file needs; says what.
            RuntimeError: It refuses the file.
        """
        if importlib.util.find_spec("executorch") is None:
            raise ValueError('ExecuTorch is not installed: pip install "d2seg[executorch]"')
        with quiet_start():
            from executorch.runtime import Runtime

            runtime = Runtime.get()
            missing = [
                *(set(self.backends) - set(runtime.backend_registry.registered_backend_names)),
                *(set(self.operators) - set(runtime.operator_registry.operator_names)),
            ]
            if missing:
                raise ValueError(f"this ExecuTorch does not have {', '.join(sorted(missing))}")
            runtime.load_program(str(path)).load_method("forward")


def is_pte(head: bytes) -> bool:
    """Tell whether a file that begins with these eight bytes is one of ExecuTorch."""
    return head[4:8] == MAGIC


def read_pte(path: Path) -> PteContents:
    """Look into a file.

    Raises:
        UnreadableFileError: It is truncated or damaged.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        try:
            _check_length(data, path)
            plans = list(Table.root(data).tables(_EXECUTION_PLANS))
            operators: set[str] = set()
            backends: dict[str, int] = {}
            planned = 0
            for plan in plans:
                operators.update(_operators(plan))
                for delegate in plan.tables(_DELEGATES):
                    name = delegate.text(_BACKEND)
                    backends[name] = backends.get(name, 0) + 1
                planned = max(planned, sum(plan.integers(_BUFFER_SIZES)))
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise UnreadableFileError(
                f"'{path}' is damaged: its program points outside the file."
            ) from error
    return PteContents(
        "pte",
        None,
        dict.fromkeys(sorted(operators), 0),
        [],
        {},
        _description(path),
        backends,
        planned,
    )


def _check_length(data: mmap.mmap, path: Path) -> None:
    """Refuse a file that ends before its weights do."""
    magic, _, program, start, weights = HEADER.unpack_from(data, 8)
    needed = max(start + weights, program) if magic == b"eh00" else 0
    if len(data) < needed:
        raise UnreadableFileError(
            f"'{path}' is truncated: it should have {needed:,} bytes and has {len(data):,}; copy "
            "it again."
        )


def _operators(plan: Table) -> set[str]:
    names = set()
    for operator in plan.tables(_OPERATORS):
        overload = operator.text(_OVERLOAD)
        name = operator.text(_OPERATOR_NAME)
        names.add(f"{name}.{overload}" if overload else name)
    return names


def _description(path: Path) -> ModelDescription | None:
    try:
        return read_pte_description(path)
    except ValueError:  # written by something else
        return None

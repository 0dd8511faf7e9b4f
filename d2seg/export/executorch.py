"""ExecuTorch files (``.pte``), the successor of TorchScript on phones: write, describe, run them.

The package executorch is imported when it is needed. It brings ``flatc``, which writes the file.
"""

import importlib.util
import mmap
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.export.conversion import converting
from d2seg.export.description import ModelDescription
from d2seg.export.static.runner import Letterboxed

_STDERR = 2
"""Its file descriptor."""

DESCRIBE = "describe"
"""The method of a file that takes nothing and returns its description, as JSON."""

FLATC = "FLATC_EXECUTABLE"
"""Variable of the environment by which executorch finds the program."""

DESCRIPTION_START = b'{\n  "format": "pte"'
"""What the description begins with, wherever it stands in the file."""


def load_pte(path: str | os.PathLike[str]) -> Letterboxed:
    """Load a file into ExecuTorch's runtime for Python, for images of any size.

    Args:
        path: A ``.pte`` that d2seg exported.

    Raises:
        FileNotFoundError, ValueError: There is no such file, d2seg did not write it, or it is
            damaged.
        ImportError: ExecuTorch is not installed.
    """
    description = read_pte_description(path)
    require_executorch()
    try:
        with quiet_start():
            from executorch.runtime import Runtime

            program = Runtime.get().load_program(os.fspath(path))
            method: Any = program.load_method("forward")
    except RuntimeError as error:
        raise ValueError(
            f"'{os.fspath(path)}' cannot be loaded by this ExecuTorch ({error}); 'd2seg inspect' "
            "says what it needs, and whether it is whole."
        ) from error

    def run(canvas: Tensor, image_size: Tensor) -> Sequence[Tensor]:
        # The method points into the program, which lives as long as it is named here.
        _, outputs = program, method.execute([canvas, image_size])
        found: Sequence[Tensor] = outputs
        return found

    return Letterboxed(run, description)


def save_pte(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    path: str | os.PathLike[str],
    description: ModelDescription,
) -> None:
    """Lower a model to XNNPACK, with ExecuTorch's portable operators for the rest, and write it.

    Takes a minute or more.

    Args:
        model: Exportable by ``torch.export``: fixed shapes, tensors in and out.
        inputs: Tensors of the shapes that ``forward`` takes.
        path: The file to write, usually ``*.pte``.
        description: Stored in the file as its method ``describe``.

    Raises:
        ImportError: ExecuTorch is not installed.
        FileNotFoundError: ``flatc`` is missing.
        ConversionError: The model cannot be converted.
    """
    require_executorch()
    with _flatc(), converting("torch.export", model):
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

        with torch.no_grad():
            exported = torch.export.export(model, inputs)
            lowered = to_edge_transform_and_lower(
                exported,
                partitioner=[XnnpackPartitioner()],
                constant_methods={DESCRIBE: description.to_json()},
                # Its check refuses operators that the runtime has, such as topk.
                compile_config=EdgeCompileConfig(_check_ir_validity=False),
            )
            program = lowered.to_executorch()
    with Path(path).open("wb") as file:
        program.write_to_file(file)


def read_pte_description(path: str | os.PathLike[str]) -> ModelDescription:
    """Read the description in a file, without ExecuTorch.

    Args:
        path: A file that d2seg exported.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has no description.
    """
    try:
        with (
            Path(path).open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            start = content.find(DESCRIPTION_START)
            # Texts in the file end with a zero.
            text = content[start : content.find(b"\0", start)].decode() if start >= 0 else ""
        return ModelDescription.from_json(text)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"'{os.fspath(path)}' has no description: d2seg did not export it."
        ) from error


def require_executorch() -> None:
    """Refuse to go on without the package executorch.

    Raises:
        ImportError: It is not installed; says how to install it.
    """
    if importlib.util.find_spec("executorch") is None:
        raise ImportError(
            'Files of the format pte need the package executorch: pip install "d2seg[executorch]".'
        )


def find_flatc() -> str:
    """Find the program that writes the file: on the PATH, or the one in executorch's own package.

    Raises:
        FileNotFoundError: There is none; says where to get it.
    """
    spec = importlib.util.find_spec("executorch")
    folders = list(spec.submodule_search_locations or []) if spec else []
    name = "flatc.exe" if os.name == "nt" else "flatc"
    candidates = [shutil.which("flatc"), *(f"{one}/data/bin/{name}" for one in folders)]
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise FileNotFoundError(
        "ExecuTorch writes files with the program flatc, which is neither on the PATH nor in the "
        "package executorch; install it (Debian: flatbuffers-compiler) or set FLATC_EXECUTABLE."
    )


@contextmanager
def quiet_start() -> Iterator[None]:
    """Drop what is written to stderr: the runtime, when it starts, looks for the files of a phone.

    Its compiled code does not write by way of ``sys.stderr``.
    """
    earlier = os.dup(_STDERR)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), _STDERR)
        yield
    finally:
        os.dup2(earlier, _STDERR)
        os.close(earlier)


@contextmanager
def _flatc() -> Iterator[None]:
    """Tell executorch where ``flatc`` is, unless the user did."""
    known = os.environ.get(FLATC)
    os.environ[FLATC] = known or find_flatc()
    try:
        yield
    finally:
        if known is None:
            del os.environ[FLATC]

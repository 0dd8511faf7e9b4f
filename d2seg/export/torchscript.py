"""TorchScript files that both ``torch.jit.load`` and the lite interpreter of phones read."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.jit.mobile
from torch import Tensor, nn
from torch.utils.mobile_optimizer import optimize_for_mobile

from d2seg.export.conversion import converting

RunFile = Callable[[Tensor], tuple[Tensor, ...]]
"""From an image (3, H, W) to the outputs that a file has."""


class FileFacts(NamedTuple):
    """What can be said of a file without running it.

    Attributes:
        megabytes: Size, in units of 10^6 bytes.
        operators: Names of the operators a runtime must have, sorted.
        bytecode_version: Version of the instructions; runtimes read theirs and older ones.
    """

    megabytes: float
    operators: list[str]
    bytecode_version: int


def save_torchscript(
    module: nn.Module,
    path: str | os.PathLike[str],
    extra_files: Mapping[str, str],
    optimize: bool = False,
) -> None:
    """Compile a module and write it for the lite interpreter.

    It is frozen: weights become constants, and branches that they decide disappear with the
    operators in them. It is not optimised for a processor unless asked for, because files that are
    (XNNPACK prepacking) load only into the torch releases that have that library: the runtimes of
    phones, and torch before 2.13.

    Args:
        module: In eval mode, tensors in and out. Not modified.
        path: The file to write, usually ``*.ptl``.
        extra_files: Texts stored in the file, by name.
        optimize: Prepack the weights for XNNPACK and fuse what it can; this torch must have it, see
            :func:`has_xnnpack`.

    Raises:
        ConversionError: The module cannot be compiled.
        OSError: The file cannot be written.
    """
    with converting("TorchScript", module):
        frozen = torch.jit.freeze(torch.jit.script(module))
        if optimize:
            frozen = optimize_for_mobile(frozen)
        # Not to the path: where the disk is full, torch ends the whole program.
        content = frozen._save_to_buffer_for_lite_interpreter(_extra_files=dict(extra_files))
    Path(path).write_bytes(content)


def has_xnnpack() -> bool:
    """Tell whether this torch was built with XNNPACK; the wheels from 2.13 on are not."""
    return bool(torch._C._is_xnnpack_enabled())


def load_lite(path: str | os.PathLike[str]) -> RunFile:
    """Load a file into the lite interpreter of this torch, the runtime that phones have."""
    with _without_deprecation_warnings():
        module: Any = torch.jit.mobile._load_for_lite_interpreter(os.fspath(path))

    def run(image: Tensor) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            outputs: tuple[Tensor, ...] = module(image)
        return outputs

    return run


def inspect_file(path: str | os.PathLike[str]) -> FileFacts:
    """Read size, operators and bytecode version of a file."""
    name = os.fspath(path)
    with _without_deprecation_warnings():
        operators = sorted(torch.jit.mobile._get_model_ops_and_info(name))
        version = int(torch.jit.mobile._get_model_bytecode_version(name))
    return FileFacts(Path(name).stat().st_size / 1e6, operators, version)


@contextmanager
def _without_deprecation_warnings() -> Iterator[None]:
    """Silence what torch >= 2.11 says about TorchScript and the lite interpreter, nothing else.

    Both are deprecated in favour of ``torch.export`` and ExecuTorch, and both are what a ``.ptl``
    is: who asks for that format cannot act on the advice, repeated for every function.
    """
    with warnings.catch_warnings():
        message = r"(`torch\.jit\.\w+` is deprecated|Lite Interpreter is deprecated)"
        warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)
        yield

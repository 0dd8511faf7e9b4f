"""ExecuTorch files (``.pte``), the successor of TorchScript on phones: write, describe, run them.

The package executorch is imported when it is needed. It brings ``flatc``, which writes the file.
"""

import importlib.util
import mmap
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.export.description import ModelDescription
from d2seg.export.static.letterbox import letterbox, unletterbox

DESCRIBE = "describe"
"""The method of a file that takes nothing and returns its description, as JSON."""

FLATC = "FLATC_EXECUTABLE"
"""Variable of the environment by which executorch finds the program."""

DESCRIPTION_START = b'{\n  "format": "pte"'
"""What the description begins with, wherever it stands in the file."""


class PteModel:
    """An ExecuTorch file in ExecuTorch's runtime for Python, for images of any size.

    Args:
        path: A file that d2seg exported.

    Attributes:
        description: What the file says of itself. Its ``outputs`` names what a call returns, in
            this order; ``N`` there is ``count`` here, not the fixed length in the file.
        canvas_hw: Height and width of the images that the file itself takes.

    Raises:
        FileNotFoundError, ValueError: There is no such file, or d2seg did not write it.
        ImportError: ExecuTorch is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.description = read_pte_description(path)
        require_executorch()
        from executorch.runtime import Runtime

        _, height, width = self.description.inputs[0].shape
        self.canvas_hw = (int(height), int(width))
        self._names = [schema.name for schema in self.description.outputs]
        # The method holds pointers into the program, so that has to live as long.
        self._program = Runtime.get().load_program(os.fspath(path))
        self._method: Any = self._program.load_method("forward")

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]:
        """Find the objects of an image.

        Args:
            image: (3, H, W) float, raw values 0..255, channels in ``description.input_order``; it
                is resized to fit the file.

        Returns:
            In the order of ``description.outputs``: boxes (N, 4) float, XYXY pixels of ``image``
            and not empty; classes (N,) int64; masks (N, 1, h, w) float probabilities in the boxes;
            scores (N,) float, falling; image_size (2,) int64, that of ``image``; count (1,), N.

        Raises:
            ValueError, TypeError: The image has other dimensions or is not float.
        """
        canvas, placed_hw = letterbox(image.to(torch.float32), self.canvas_hw)
        found = dict(zip(self._names, self.run_canvas(canvas, placed_hw), strict=True))
        boxes, kept = unletterbox(found["boxes"], placed_hw, image.shape[1:])
        rows = {name: found[name][kept] for name in found.keys() - {"image_size", "count"}}
        rows |= {
            "boxes": boxes[kept],
            "image_size": torch.tensor(image.shape[1:]),
            "count": kept.sum(dim=0, keepdim=True),
        }
        return tuple(rows[name] for name in self._names)

    def run_canvas(self, canvas: Tensor, placed_hw: tuple[int, int]) -> list[Tensor]:
        """Run the file as it is, and cut its outputs to what was found.

        Args:
            canvas: (3, H, W) float32 of the file's own size.
            placed_hw: Height and width of the part, at the top left, that the image takes.
        """
        outputs = self._method.execute([canvas.contiguous(), torch.tensor(placed_hw)])
        count = int(outputs[self._names.index("count")])
        # Copies: the runtime reuses its memory in the next run.
        return [
            value.clone() if name in ("image_size", "count") else value[:count].clone()
            for name, value in zip(self._names, outputs, strict=True)
        ]


def load_pte(path: str | os.PathLike[str]) -> PteModel:
    """Load a ``.pte`` that d2seg exported: a callable for images of any size; see PteModel."""
    return PteModel(path)


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
    """
    require_executorch()
    with _flatc(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages' own deprecations
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
def _flatc() -> Iterator[None]:
    """Tell executorch where ``flatc`` is, unless the user did."""
    known = os.environ.get(FLATC)
    os.environ[FLATC] = known or find_flatc()
    try:
        yield
    finally:
        if known is None:
            del os.environ[FLATC]

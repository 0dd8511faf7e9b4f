"""ONNX files: write a layout as one, read its description, run it in onnxruntime.

The packages onnx, onnxscript and onnxruntime are imported when they are needed.
"""

import importlib.util
import logging
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2seg.export.batched.layouts import Layout
from d2seg.export.batched.runner import FileRunner
from d2seg.export.conversion import converting
from d2seg.export.description import DESCRIPTION_NAME, ModelDescription

OPSET = 18
"""Version of ONNX's operators in the files."""

logger = logging.getLogger(__name__)


def save_onnx(
    layout: Layout, path: str | os.PathLike[str], description: ModelDescription | None = None
) -> None:
    """Write a model with free sizes, and check the file by ONNX's own rules.

    Args:
        layout: In eval mode.
        path: The file to write.
        description: Stored in the file's ``metadata_props``; None for a file without.

    Raises:
        ImportError: onnx or onnxscript is not installed.
        ConversionError: The model cannot be converted.
    """
    require_onnx("onnx", "onnxscript")
    import onnx

    from d2seg.export.onnx.translations import translations

    with torch.no_grad(), converting("torch.onnx", layout):
        program: Any = torch.onnx.export(
            layout,
            layout.example(),
            dynamo=True,
            opset_version=OPSET,
            input_names=[one.name for one in layout.inputs],
            output_names=[one.name for one in layout.outputs],
            dynamic_shapes={one.name: _free_axes(one.shape) for one in layout.inputs},
            custom_translation_table=translations(),
            verbose=False,
        )
    proto = program.model_proto
    _forget_sources(proto.graph)
    for output, schema in zip(proto.graph.output, layout.outputs, strict=True):
        for size, name in zip(output.type.tensor_type.shape.dim, schema.shape, strict=True):
            if isinstance(name, str):
                size.dim_param = name
    if description is not None:
        onnx.helper.set_model_props(proto, {DESCRIPTION_NAME: description.to_json()})
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, os.fspath(path))


def read_onnx_description(path: str | os.PathLike[str]) -> ModelDescription:
    """Read the description in a file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no ONNX file, or not one that d2seg wrote; says what is missing.
        ImportError: onnx is not installed.
    """
    return described(path, load_proto(path))


def load_proto(path: str | os.PathLike[str]) -> Any:
    """Parse a file, without its weights where they are in files of their own.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no ONNX file.
        ImportError: onnx is not installed.
    """
    require_onnx("onnx")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(os.fspath(path), load_external_data=False)
    except DecodeError as error:
        raise ValueError(f"'{os.fspath(path)}' is not an ONNX file, or is truncated.") from error
    if not proto.graph.node:
        raise ValueError(f"'{os.fspath(path)}' is not an ONNX file: it has no graph.")
    return proto


def described(path: str | os.PathLike[str], proto: Any) -> ModelDescription:
    """Take the description out of a parsed file.

    Raises:
        ValueError: It has none; says what is missing.
    """
    texts = {entry.key: entry.value for entry in proto.metadata_props}
    if DESCRIPTION_NAME not in texts:
        inputs = ", ".join(one.name for one in proto.graph.input)
        outputs = ", ".join(one.name for one in proto.graph.output)
        raise ValueError(
            f"'{os.fspath(path)}' was not exported by d2seg: '{DESCRIPTION_NAME}' is missing in "
            f"its metadata_props, which says how inputs ({inputs}) and outputs ({outputs}) are "
            "meant; export the model with 'd2seg export --format onnx'."
        )
    return ModelDescription.from_json(texts[DESCRIPTION_NAME])


def count_operators(proto: Any) -> dict[str, int]:
    """Count the operators in a file, those within loops too.

    Args:
        proto: See :func:`load_proto`.

    Returns:
        Names to numbers of nodes, sorted; with the domain before the name where it is not ONNX's.
    """
    counts: Counter[str] = Counter()
    _count(proto.graph, counts)
    return dict(sorted(counts.items()))


def load_onnx(path: str | os.PathLike[str], device: str = "cpu") -> FileRunner:
    """Load a file into onnxruntime.

    Args:
        path: An ``.onnx`` that d2seg exported.
        device: ``cpu``, or ``cuda`` (``cuda:1``) with an onnxruntime that has it; without, the CPU
            serves and a warning says so.

    Raises:
        FileNotFoundError, ValueError: There is no such file, or d2seg did not write it.
        ImportError: onnx or onnxruntime is not installed.
    """
    require_onnx("onnx", "onnxruntime")
    import onnxruntime

    description = read_onnx_description(path)
    kind, _, number = device.partition(":")
    providers: list[Any] = ["CPUExecutionProvider"]
    if kind == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": number or "0"}))
    session = open_session(path, providers)
    # Where libraries of CUDA are missing the session takes the CPU by itself.
    place = device if session.get_providers()[0] == "CUDAExecutionProvider" else "cpu"
    if place != device:
        logger.warning("This onnxruntime has no '%s'; using the CPU.", device)
    names = [one.name for one in session.get_outputs()]

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = session.run(names, {name: value.numpy() for name, value in inputs.items()})
        return {name: as_tensor(value) for name, value in zip(names, found, strict=True)}

    return FileRunner(run, description, place)


def open_session(path: str | os.PathLike[str], providers: list[Any]) -> Any:
    """Load any ONNX file into onnxruntime, with as many threads as torch has.

    Raises:
        ValueError: onnxruntime refuses it; says why.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(os.fspath(path), options, providers=providers)
    except Exception as error:  # its errors have no base of their own
        first_line = str(error).strip().partition("\n")[0]
        raise ValueError(f"onnxruntime cannot load '{os.fspath(path)}': {first_line}") from error


def as_tensor(value: np.ndarray) -> Tensor:
    """Copy what a runtime returned, which may use its memory again."""
    return torch.from_numpy(np.array(value))


def require_onnx(*packages: str) -> None:
    """Refuse to go on without packages.

    Raises:
        ImportError: One is not installed; says how to install it.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'Files of the format onnx need {" and ".join(missing)}: pip install "d2seg[onnx]".'
        )


def _count(graph: Any, counts: Counter[str]) -> None:
    for node in graph.node:
        counts[f"{node.domain}::{node.op_type}" if node.domain else node.op_type] += 1
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _count(attribute.g, counts)


def _free_axes(shape: list[int | str]) -> dict[int, str]:
    return {axis: size for axis, size in enumerate(shape) if isinstance(size, str)}


def _forget_sources(graph: Any) -> None:
    """Remove where in the source each node came from; that tells paths of the machine."""
    for value in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")
    graph.ClearField("metadata_props")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _forget_sources(attribute.g)

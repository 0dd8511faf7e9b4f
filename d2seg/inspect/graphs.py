"""Readers of the formats that have a runtime of their own: ONNX and OpenVINO."""

import importlib.metadata
import importlib.util
import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from d2seg.core.runtime.untrusted.programs import UnreadableFileError
from d2seg.export.description import ModelDescription
from d2seg.inspect.contents import Contents

ONNX_VERSION_TAG = 0x08
"""The first byte of an ONNX file: the field of its version follows."""


@dataclass(frozen=True)
class GraphContents(Contents):
    """What a file of a runtime other than torch holds; the bytecode version is that of its format.

    Operators are named ``onnx::Conv`` or ``openvino::Convolution``, with how often they occur.
    """

    def own_runtime(self) -> str:
        """Name the runtime of the format and its version; without one it is not installed."""
        package = "onnxruntime" if self.format == "onnx" else "openvino"
        installed = importlib.util.find_spec(package) is not None
        return f"{package} {importlib.metadata.version(package)}" if installed else package

    def load(self, path: Path) -> None:
        """Load the file into the runtime of its format.

        Raises:
            RuntimeError, ValueError: The runtime refuses it, or is not installed.
        """
        name = self.own_runtime()
        if " " not in name:
            raise ValueError(f'{name} is not installed: pip install "d2seg[{self.format}]"')
        if self.format == "onnx":
            from d2seg.export.onnx.file import open_session

            open_session(path, ["CPUExecutionProvider"])
        else:
            import openvino

            openvino.Core().compile_model(os.fspath(path), "CPU")


def is_onnx(head: bytes) -> bool:
    """Tell from the first bytes whether a file may be an ONNX file."""
    return len(head) > 2 and head[0] == ONNX_VERSION_TAG and head[1] < 0x80


def is_xml(head: bytes) -> bool:
    """Tell from the first bytes whether a file may be the graph of an OpenVINO file."""
    return head.startswith((b"<?xml", b"<net"))


def read_onnx(path: Path) -> Contents:
    """Look into an ONNX file.

    Raises:
        UnreadableFileError: It is none.
        ImportError: onnx is not installed.
    """
    from d2seg.export.onnx.file import count_operators, described, load_proto

    try:
        proto = load_proto(path)
    except ValueError as error:
        raise UnreadableFileError(str(error)) from error
    import onnx

    stored: Counter[str] = Counter()
    for tensor in proto.graph.initializer:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        stored[str(kind)] += math.prod(tensor.dims)
    version = next((one.version for one in proto.opset_import if not one.domain), None)
    operators = {
        name if "::" in name else f"onnx::{name}": count
        for name, count in count_operators(proto).items()
    }
    try:
        description: ModelDescription | None = described(path, proto)
    except ValueError:  # written by something else
        description = None
    return GraphContents("onnx", version, operators, [], dict(stored), description)


def read_xml(path: Path) -> Contents:
    """Look into the graph of an OpenVINO file.

    Raises:
        UnreadableFileError: It is none.
    """
    from d2seg.export.openvino.file import find_description, read_graph

    try:
        root = read_graph(path)
    except ValueError as error:
        raise UnreadableFileError(str(error)) from error
    operators: Counter[str] = Counter()
    stored: Counter[str] = Counter()
    for layer in root.iter("layer"):
        if layer.get("type") == "Const":
            stored[_kind(layer)] += _numbers(layer)
        else:
            operators[f"openvino::{layer.get('type')}"] += 1
    try:
        description: ModelDescription | None = find_description(path, root)
    except ValueError:  # written by something else
        description = None
    version = int(root.get("version", "0")) or None
    return GraphContents(
        "openvino", version, dict(sorted(operators.items())), [], dict(stored), description
    )


NAMES = {"f32": "float32", "f16": "float16", "i8": "int8", "u8": "uint8", "i64": "int64"}
"""numpy's names of OpenVINO's types."""


def _kind(layer: Element) -> str:
    data = layer.find("data")
    kind = "" if data is None else data.get("element_type", "")
    return NAMES.get(kind, kind)


def _numbers(layer: Element) -> int:
    data = layer.find("data")
    shape = "" if data is None else data.get("shape", "")
    return math.prod(int(size) for size in shape.split(",") if size.strip())

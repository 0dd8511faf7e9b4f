"""OpenVINO files: an ``.xml`` with the graph and a ``.bin`` of the same name with the weights.

The package openvino is imported when it is needed.
"""

import importlib.util
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from torch import Tensor

from d2seg.core.runtime.files import replace_when_complete
from d2seg.export.batched.runner import FileRunner
from d2seg.export.description import ModelDescription
from d2seg.export.onnx.file import as_tensor

logger = logging.getLogger(__name__)

RT_INFO = ("d2seg", "description")
"""Where the description stands in the file's runtime information (``rt_info``)."""

PRECISION = "f32"
"""What files compute in unless asked otherwise: where a processor has bf16, OpenVINO would take it
by default, and other objects are found."""


@contextmanager
def openvino_files(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield temporary names of an ``.xml`` and a ``.bin``; both get their names in the end.

    When the block raises, both are removed, and earlier files stay as they were.
    """
    weights = path.with_suffix(".bin")
    with replace_when_complete(path) as graph, replace_when_complete(weights) as numbers:
        yield graph, numbers


def save_openvino(model: Any, description: ModelDescription, graph: Path, weights: Path) -> None:
    """Write a model, with its description inside.

    Args:
        model: An ``openvino.Model``. The description is added to it.
        description: ``weights`` ``half`` stores them as float16; a quantised model has its own.
        graph: The ``.xml`` to write.
        weights: The ``.bin`` to write.
    """
    import openvino

    model.set_rt_info(description.to_json(), list(RT_INFO))
    written = graph.with_suffix(".bin")
    try:
        openvino.save_model(model, graph, compress_to_fp16=description.weights == "half")
        os.replace(written, weights)
    finally:
        if written != weights:
            written.unlink(missing_ok=True)


def read_openvino_description(path: str | os.PathLike[str]) -> ModelDescription:
    """Read the description in a file, without OpenVINO.

    Args:
        path: The ``.xml``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no file of OpenVINO, or not one that d2seg wrote; says what is missing.
    """
    return find_description(path, read_graph(path))


def find_description(path: str | os.PathLike[str], root: ElementTree.Element) -> ModelDescription:
    """Take the description out of a parsed ``.xml``.

    Raises:
        ValueError: It has none; says what is missing.
    """
    entry = root.find("/".join(("rt_info", *RT_INFO)))
    if entry is None:
        raise ValueError(
            f"'{os.fspath(path)}' was not exported by d2seg: '{'/'.join(RT_INFO)}' is missing in "
            "its rt_info, which says how inputs and outputs are meant; export the model with "
            "'d2seg export --format openvino'."
        )
    return ModelDescription.from_json(entry.get("value", ""))


def read_graph(path: str | os.PathLike[str]) -> ElementTree.Element:
    """Parse an ``.xml``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no graph of OpenVINO.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"'{os.fspath(path)}' is not XML, or is truncated: {error}.") from error
    if root.tag != "net":
        raise ValueError(f"'{os.fspath(path)}' is not a graph of OpenVINO: it has no <net>.")
    return root


def load_openvino(
    path: str | os.PathLike[str],
    device: str = "cpu",
    precision: str = PRECISION,
    weights: str | os.PathLike[str] = "",
) -> FileRunner:
    """Load a file into OpenVINO.

    Args:
        path: An ``.xml`` that d2seg exported.
        device: Of OpenVINO, such as ``cpu``, ``gpu`` or ``auto``; where there is no such device the
            CPU serves, and a warning says so.
        precision: What it computes in, such as ``f32`` or ``bf16``; empty for what OpenVINO thinks
            best on the device. Quantised parts compute in int8 all the same.
        weights: The ``.bin``; by default the one beside it.

    Raises:
        FileNotFoundError: One of the files is missing.
        ValueError: d2seg did not write it, or OpenVINO cannot load it there.
        ImportError: openvino is not installed.
    """
    require_openvino("openvino")
    import openvino

    description = read_openvino_description(path)
    numbers = Path(weights) if weights else Path(path).with_suffix(".bin")
    if not numbers.is_file():
        raise FileNotFoundError(f"'{path}' has its weights in '{numbers}', which is missing.")
    core = openvino.Core()
    place = usable_device(core, device)
    options: dict[str, Any] = {}
    if place == "CPU":
        options["INFERENCE_NUM_THREADS"] = torch.get_num_threads()
    if precision:
        options["INFERENCE_PRECISION_HINT"] = precision
    try:
        model = core.read_model(os.fspath(path), os.fspath(numbers))
        compiled = core.compile_model(model, place, options)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ValueError(f"OpenVINO cannot load '{path}': {lines[-1]}") from error
    request = compiled.create_infer_request()
    names = [schema.name for schema in description.outputs]

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        request.infer({name: value.numpy() for name, value in inputs.items()})
        return {name: as_tensor(request.get_tensor(name).data) for name in names}

    return FileRunner(run, description, place.lower())


def usable_device(core: Any, wanted: str) -> str:
    """Return a device by OpenVINO's name, or the CPU with a warning if this machine lacks it."""
    name = wanted.upper()
    kinds = {device.partition(".")[0] for device in core.available_devices} | {"AUTO"}
    if name.partition(".")[0].partition(":")[0] in kinds:
        return name
    logger.warning("OpenVINO has no device '%s' here; using the CPU.", wanted)
    return "CPU"


def require_openvino(*packages: str) -> None:
    """Refuse to go on without packages.

    Raises:
        ImportError: One is not installed; says how to install it.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Files of the format openvino need {' and '.join(missing)}: "
            'pip install "d2seg[openvino]".'
        )

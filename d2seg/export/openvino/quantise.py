"""Weights and activations of an OpenVINO model as int8 (NNCF, after training)."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from d2seg.export.conversion import converting

QUANTISED = re.compile(
    r"model\.(backbone|detector\.boxes\.stage\.heads\.\d+\.layers|detector\.boxes\.regions\.trunk"
    r"|masks\.regions\.trunk|masks\.layers|keypoints\.layers)\."
)
"""By the names of their weights, the layers that compute in int8: most of the work. The RPN and the
towers of RetinaNet stay float (their levels share weights, and with those in int8 next to nothing
is found), and so do the layers that give scores and offsets, and all arithmetic on boxes."""

LAYERS = ("Convolution", "ConvolutionBackpropData", "GroupConvolution", "MatMul")
"""What has weights."""


def quantise(model: Any, inputs: Sequence[Mapping[str, Tensor]]) -> Any:
    """Make a copy of a model whose heavy layers compute in int8.

    Args:
        model: An ``openvino.Model`` made from one of d2seg's ONNX files.
        inputs: What it takes, by name, for images such as it will see; the ranges of the
            activations are measured on them.

    Returns:
        The copy.

    Raises:
        ValueError: There is no input.
    """
    if not inputs:
        raise ValueError("Quantisation needs at least one image to measure activations on.")
    with converting("NNCF"):
        import nncf

        items = [{name: value.numpy() for name, value in one.items()} for one in inputs]
        nncf.set_log_level(logging.ERROR)
        return nncf.quantize(
            model,
            nncf.Dataset(items),
            subset_size=len(items),
            ignored_scope=nncf.IgnoredScope(names=list(_kept_float(model)), validate=False),
        )


def _kept_float(model: Any) -> Iterator[str]:
    """Name the operators that stay float: layers but the chosen ones, and whatever has no weights.

    NNCF would take additions and products of coordinates too.
    """
    for operator in model.get_ops():
        kind = operator.get_type_name()
        if kind in LAYERS and any(QUANTISED.match(name) for name in _weights_of(operator)):
            continue
        if kind not in ("Constant", "Parameter", "Result", "FakeQuantize"):
            yield operator.get_friendly_name()


def _weights_of(operator: Any) -> Iterator[str]:
    """Name the constants that enter an operator, also by way of a cast or another shape."""
    for value in operator.inputs():
        source = value.get_source_output().get_node()
        while source.get_type_name() in ("Convert", "Reshape", "Transpose"):
            source = source.inputs()[0].get_source_output().get_node()
        if source.get_type_name() == "Constant":
            yield source.get_friendly_name()

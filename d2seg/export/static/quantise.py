"""Weights and activations of a static model as int8 (PT2E quantisation, for XNNPACK)."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.export.conversion import converting

QUANTISED = re.compile(
    r"(backbone|detector\.boxes\.heads\.\d+\.layers|(masks|keypoints)\.layers)(\..*)?"
)
"""The modules that are stored and computed in int8: most of the work. The RPN and the head of a
RetinaNet stay float (the quantizer takes only the first use of the convolutions that their levels
share), and so do the layers that give scores and offsets, and all arithmetic on boxes."""


OPERATORS: tuple[Any, ...] = (
    torch.ops.aten.conv2d.default,
    torch.ops.aten.conv_transpose2d.input,
    torch.ops.aten.linear.default,
    torch.ops.aten.add.Tensor,
)
"""What is computed in int8 within them."""


def quantise(model: nn.Module, inputs: Sequence[tuple[Tensor, ...]]) -> nn.Module:
    """Make a copy of a static model whose convolutions and linear layers compute in int8.

    Args:
        model: A :class:`d2seg.export.static.deployable.StaticRCNN`.
        inputs: What its ``forward`` takes, for images such as it will see; the ranges of the
            activations are measured on them.

    Returns:
        A graph that simulates the rounding when it is run in torch.

    Raises:
        ValueError: There is no input.
        ImportError: ExecuTorch is not installed.
    """
    if not inputs:
        raise ValueError("Quantisation needs at least one image to measure activations on.")
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer as xnnpack
    from torchao.quantization.pt2e import quantize_pt2e

    quantizer = xnnpack.XNNPACKQuantizer()
    settings = xnnpack.get_symmetric_quantization_config(is_per_channel=True)
    # One operator at a time: asked for all, the quantizer takes every concatenation of boxes too.
    for operator in OPERATORS:
        quantizer.set_operator_type(operator, settings)
    quantizer.set_filter_function(_in_quantised_part)
    with torch.no_grad(), converting("torch.export", model):
        graph: Any = torch.export.export(model, inputs[0]).module()
        prepared = quantize_pt2e.prepare_pt2e(graph, quantizer)
        for one in inputs:
            prepared(*one)
        converted: nn.Module = quantize_pt2e.convert_pt2e(prepared)
    return converted


def _in_quantised_part(node: Any) -> bool:
    """Tell whether a node of the graph may be quantised; weights go with those that use them."""
    if node.op == "get_attr":
        return True
    stack = node.meta.get("nn_module_stack", {})
    return any(QUANTISED.fullmatch(name) for name, _ in stack.values())

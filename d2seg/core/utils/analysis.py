"""Counting what a model costs: multiply-adds, activations, parameters; by fvcore."""

import inspect
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import torch
from fvcore.nn import ActivationCountAnalysis, parameter_count, parameter_count_table
from fvcore.nn import FlopCountAnalysis as FvcoreFlopCountAnalysis
from torch import Tensor, nn

from d2seg.core.structures import Boxes, Instances

__all__ = [
    "FlopCountAnalysis",
    "activation_count_operators",
    "find_unused_parameters",
    "flop_count_operators",
    "parameter_count",
    "parameter_count_table",
]

# Element-wise work and suppression, which are small beside convolutions and matrix products.
_NOT_COUNTED = (
    *("add", "add_", "argsort", "sort", "batch_norm", "constant_pad_nd", "div", "div_", "exp"),
    *("exp_", "expm1", "log2", "max_pool2d", "meshgrid", "mul", "mul_", "neg", "pow", "rsqrt"),
    *("nonzero_numpy", "softmax", "sigmoid", "sigmoid_", "sub", "sub_", "relu", "relu_", "sqrt"),
    *("clamp", "clamp_min", "topk", "rsub", "minimum", "maximum", "repeat_interleave"),
)


class FlopCountAnalysis(FvcoreFlopCountAnalysis):
    """fvcore's count for a model that takes a list of dicts with an ``image``.

    One multiply-add counts as one operation. What depends on the values of the image, such as the
    number of detections, is counted as it happens for this image.

    Args:
        model: In evaluation mode.
        inputs: For each image a dict with ``image``, (C, H, W).
    """

    def __init__(self, model: nn.Module, inputs: list[dict[str, Any]]) -> None:
        super().__init__(_OnImages(model, inputs), tuple(one["image"] for one in inputs))
        self.set_op_handle("torchvision::deform_conv2d", _count_deformable_convolution)
        self.set_op_handle(**{f"aten::{name}": None for name in _NOT_COUNTED})
        self.set_op_handle(**{f"torchvision::{name}": None for name in ("nms", "roi_align")})
        self.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        self.tracer_warnings("none")


def flop_count_operators(model: nn.Module, inputs: list[dict[str, Any]]) -> dict[str, float]:
    """Count the multiply-adds of each kind of operator, in units of 1e9.

    Args:
        model: See `FlopCountAnalysis`; it is run in evaluation mode.
        inputs: Likewise.
    """
    return _in_evaluation(model, lambda: FlopCountAnalysis(model, inputs).by_operator())


def activation_count_operators(model: nn.Module, inputs: list[dict[str, Any]]) -> dict[str, float]:
    """Count the output values of each kind of operator, in units of 1e6; inputs as above."""

    def count() -> Counter[str]:
        images = tuple(one["image"] for one in inputs)
        analysis = ActivationCountAnalysis(_OnImages(model, inputs), images)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return analysis.tracer_warnings("none").by_operator()

    return _in_evaluation(model, count, unit=1e6)


def find_unused_parameters(model: nn.Module, inputs: Any) -> list[str]:
    """Name the parameters that a training step with these inputs gives no gradient.

    Args:
        model: Returns a dict of losses; in training mode. Its gradients are cleared.
        inputs: Of the model.
    """
    model.zero_grad(set_to_none=True)
    losses = model(inputs)
    total = losses if isinstance(losses, Tensor) else torch.stack(list(losses.values())).sum()
    total.backward()
    unused = [name for name, one in model.named_parameters() if one.grad is None]
    model.zero_grad(set_to_none=True)
    return unused


def _in_evaluation(model: nn.Module, count: Any, unit: float = 1e9) -> dict[str, float]:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            counted = count()
    finally:
        model.train(training)
    return defaultdict(float, {name: value / unit for name, value in counted.items()})


class _OnImages(nn.Module):
    """A model as a function from images to all tensors in its results, which can be traced."""

    def __init__(self, model: nn.Module, inputs: list[dict[str, Any]]) -> None:
        super().__init__()
        self.model = model
        self._inputs = inputs

    def forward(self, *images: Tensor) -> tuple[Tensor, ...]:
        inputs = [{**one, "image": image} for one, image in zip(self._inputs, images, strict=True)]
        run = getattr(self.model, "inference", None)
        # Without postprocessing where the model can: pasting masks is not the network's work.
        if run is not None and _can_skip(run):
            return tuple(_tensors(run(inputs, do_postprocess=False)))
        return tuple(_tensors(self.model(inputs)))


def _can_skip(run: Any) -> bool:
    return "do_postprocess" in inspect.signature(run).parameters


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Boxes):
        yield value.tensor
    elif isinstance(value, Instances):
        yield from _tensors(value.get_fields())
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


def _count_deformable_convolution(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
    """Count like a plain convolution: kernel values times output values."""
    weight, output = inputs[1].type().sizes(), outputs[0].type().sizes()
    return Counter({"deform_conv2d": prod(weight[1:]) * prod(output)})
